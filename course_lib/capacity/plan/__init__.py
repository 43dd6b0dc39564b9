"""`course plan`: does this model fit on that machine, and how fast can it decode?

    config.json → models → tensors → formats → memory → speed → advice        log: what an engine says to it

models finds the config, tensors lists what it describes, formats gives each tensor its bits; memory adds up the `Plan`.
"""

from course_lib.capacity.plan.memory import Plan, plan

__all__ = ["Plan", "plan"]
