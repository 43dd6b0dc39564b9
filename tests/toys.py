"""A small exercise to test the exercises framework with: double(x) is 2·x, clipped at ten."""

import torch

from course_lib.checks import Case, Exercise, Wrong, equals_reference, law, relation


def double(x, top=10.0):
    return torch.clip(2 * x, max=top)


def exercise(**changes):
    """The toy exercise, with some fields changed."""
    fields = dict(
        id="ch99.double",
        title="Twice",
        spec="double(x, top) is 2·x, but at most top.",
        kind="build",
        stub='def double(x, top=10.0):\n    """Twice x, at most top."""\n    ...\n',
        reference=double,
        cases=[
            Case("many", torch.tensor([1.0, 2.0, -3.0, 7.0, 12.0, 4.5]), 10.0),
            Case("one", torch.tensor([1.5])),
            Case("beyond", torch.tensor([6.0, 1.0]), top=10.0),
        ],
        properties=[
            equals_reference(ulps=1, why="One product, rounded once."),
            law("never above top", lambda got, x, top=10.0: bool((got <= top).all()), "That is the limit."),
            relation("zero stays zero", lambda run, x, top=10.0: bool((run(0 * x, top) == 0).all())),
        ],
        wrong=[
            Wrong("no limit", lambda x, top=10.0: 2 * x, "Clip the result at top."),
            Wrong("limit before doubling", lambda x, top=10.0: 2 * torch.clip(x, max=top), "Clip after doubling."),
            Wrong("added two", lambda x, top=10.0: torch.clip(x + 2, max=top), "Twice is not plus two."),
            Wrong("raises", lambda x, top=10.0: {}["x"], "Do not look it up."),
        ],
        hints=["Multiply.", "1.5 becomes 3.0.", "return torch.clip(____, max=____)"],
        passed="Well doubled.",
    )
    return Exercise(**(fields | changes))


def value_exercise(**changes):
    """The toy exercise whose answer is a dict of numbers."""
    fields = dict(
        id="ch99.claim",
        title="Claim",
        spec="A half and a count.",
        kind="explain",
        stub='claim = {\n    "half": ...,\n    "count": ...,\n}\n',
        reference={"half": 0.5, "count": 7},
        solution_source='claim = {"half": 0.5, "count": 7}\n',
        properties=[equals_reference(atol=1e-9)],
        wrong=[
            Wrong("double", {"half": 1.0, "count": 7}, "That is the whole."),
            Wrong("eight", {"half": 0.5, "count": 8}, "Zero takes one."),
            Wrong("sixteen", {"half": 0.5, "count": 16}, "Half of them."),
            Wrong("negative", {"half": -0.5, "count": 7}, "Errors have no sign."),
        ],
        hints=["a", "b", "c"],
    )
    return Exercise(**(fields | changes))
