"""What a few bits can hold: number formats, registered by name, and how their codes are packed."""

from course_lib.formats import integer, packing, registry

__all__ = ["integer", "packing", "registry"]
