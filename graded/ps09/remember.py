"""A kernel in the interpreter is slow, and a reference is asked for the same cases again for every student."""

import copy
import functools

from course_lib.grading.inside import wire


def remembered(reference):
    """The function, run once for the same arguments; what it gives is copied."""
    known = {}

    @functools.wraps(reference)
    def call(*args):
        key = wire.encode(args)
        if key not in known:
            known[key] = reference(*args)
        return copy.deepcopy(known[key])

    return call
