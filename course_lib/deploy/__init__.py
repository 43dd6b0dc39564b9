"""From an approved artifact to a service with a way back: runtimes as processes, a router, a canary, a rollback."""

import importlib

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


def __getattr__(name):
    """Load a public name on its first use."""
    if name not in _NAMES:
        raise AttributeError(f"course_lib.deploy has no public name {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.{_NAMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__():
    """List what is loaded and what can be."""
    return sorted({*globals(), *_NAMES})
