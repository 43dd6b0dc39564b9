"""The visible checks: what a function did to its arguments is said, and harms no other check."""

import numpy as np
import pytest
import torch

from course_lib.grading.visible import Checks, same

CELL = """
x = torch.tensor([3.0, 4.0], requires_grad=GRAD)
x = x.detach().numpy() if ARRAY else x
checks = Checks("q1", points=3)
with checks("first"):
    same(double(x), torch.tensor([6.0, 8.0]))
with checks("again"):
    same(double(x), torch.tensor([6.0, 8.0]))
with checks("wrongly"):
    same(double(x), torch.tensor([6.0, 9.0]))
points = checks.result()
"""


def run(double, capsys, array=False, grad=False):
    names = dict(torch=torch, Checks=Checks, same=same, double=double, ARRAY=array, GRAD=grad, words=np.array([["a"]]))
    names |= dict(odd=torch.eye(2).to_sparse(), huge=torch.zeros(200_000), none=torch.zeros(0), _=torch.ones(1))
    exec(CELL, names)
    return names, capsys.readouterr().out


def in_place(x):
    x *= 2
    return torch.as_tensor(x).clone()


def whose_shape_changes(x):
    x.unsqueeze_(0).mul_(2)
    return x[0].clone()


@pytest.mark.parametrize("double, array", [(in_place, False), (in_place, True), (whose_shape_changes, False)])
def test_a_changed_argument_is_put_back_and_named(double, array, capsys):
    names, said = run(double, capsys, array)
    assert names["points"] == 2 and torch.as_tensor(names["x"]).tolist() == [3.0, 4.0]
    first, again, wrongly = said.splitlines()[1:4]
    assert "holds" in first and "holds" in again and "changed" not in first + again
    assert "expected 9" in wrongly and "Your function changed x, which it was given" in wrongly


@pytest.mark.parametrize("grad", [False, True])
def test_who_leaves_them_alone_is_told_nothing(grad, capsys):
    names, said = run(lambda x: (x * 2).detach(), capsys, grad=grad)
    assert names["points"] == 2 and "changed" not in said and names["x"].requires_grad == grad
