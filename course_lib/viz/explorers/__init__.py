"""The course's explorers, one module a chapter, loaded when first named: `viz.explorers.ruler(w=0.73, s=0.1)`."""

from course_lib.lazy import names

_NAMES = {
    "break_the_bot": "ch00_bot",
    "ruler": "ch01_ruler",
    "grid": "ch02_grid",
    "planner": "ch03_planner",
    "heatmap": "ch04_heatmap",
    "migrate": "ch05_migrate",
    "stepper": "ch06_stepper",
    "protect": "ch07_protect",
    "inspector": "ch08_inspector",
    "offload": "ch08_offload",
    "blocks": "ch09_blocks",
    "toggler": "ch10_toggler",
    "comparer": "ch10_comparer",
    "capacity": "ch11_planner",
    "attention": "ch11_attention",
    "pages": "ch11_pages",
    "gate": "ch13_gate",
    "trace": "ch12_trace",
    "loop": "ch12_loop",
    "decide": "ch14_decide",
    "canary": "ch14_canary",
    "mastery": "ch15_mastery",
}
__all__ = list(_NAMES)
__getattr__, __dir__ = names(__name__, _NAMES)
