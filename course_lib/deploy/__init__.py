"""From an approved artifact to a service with a way back: runtimes as processes, a router, a canary, a rollback."""

from course_lib.lazy import names

# public name -> module that holds it
_NAMES = {
    "BadRequest": "limits",
    "Canary": "canary",
    "CanaryPolicy": "canary",
    "Hysteresis": "health",
    "Limits": "limits",
    "NotServing": "server",
    "PortTaken": "server",
    "Server": "server",
    "Service": "service",
    "in_share": "canary",
    "post": "service",
    "read_action": "service",
}

__all__ = list(_NAMES)
__getattr__, __dir__ = names(__name__, _NAMES)
