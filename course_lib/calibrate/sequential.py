"""Methods that look at activations, one decoder block after the other: each sees what the blocks before it became."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn

from course_lib.calibrate.awq import rescale
from course_lib.calibrate.blocks import Flow, blocks_of, inputs_of, order_of
from course_lib.calibrate.calibration import batches_for
from course_lib.calibrate.gptq import gptq
from course_lib.calibrate.progress import each
from course_lib.calibrate.rtn import rtn
from course_lib.calibrate.solve import named, own, round_in_place
from course_lib.calibrate.stats import Running, collect, evaluating, require_all
from course_lib.calibrate.targets import check_fit
from course_lib.qtensor import QTensor


def by_gptq(model, linears, scheme, calibration, progress, solve: Callable | None = None, **options):
    """GPTQ in true-sequential order: H of o is measured behind the quantized q, k, v, and so on.

    options are those of `gptq`; solve is a function (w, H, scheme) -> QTensor, such as your own, to use instead.
    """
    blocks, batches = _prepared(model, linears, scheme, calibration)

    def solve_all(group: dict[str, nn.Linear], H: dict) -> dict[str, QTensor]:
        done = {}
        for name, linear in group.items():
            if solve is None:
                done[name] = named(name, gptq, linear.weight, H[name], scheme, **options)
            else:
                done[name] = own(name, solve, linear.weight, H[name].clone(), scheme)
            round_in_place(linear, done[name])
        return done

    qtensors: dict[str, QTensor] = {}
    with evaluating(model):
        flow = Flow(model, list(blocks), batches)
        for name, inside in each(blocks, "gptq", progress):
            block = model.get_submodule(name)
            for group in order_of(inside, block, next(flow.calls())) if inside else []:
                found = inputs_of(group, block, flow.calls(), lambda: Running(sample_rows=0))
                require_all(found, group)
                qtensors |= solve_all(group, {name: running.H for name, running in found.items()})
            flow.advance()
    outside = {name: linear for name, linear in linears.items() if name not in qtensors}
    if outside:
        H = {name: stats.H for name, stats in collect(model, batches, outside, progress=progress).items()}
        qtensors |= solve_all(outside, H)
    return qtensors


def by_awq(model, linears, scheme, calibration, progress, **options):
    """AWQ block after block: rescale, fold, clip, then round; linears outside the blocks are only rounded."""
    blocks, batches = _prepared(model, linears, scheme, calibration)
    qtensors: dict[str, QTensor] = {}
    with evaluating(model):
        flow = Flow(model, list(blocks), batches)
        for name, inside in each(blocks, "awq", progress):
            block = model.get_submodule(name)
            if inside:
                rescale(block, list(flow.calls()), scheme, inside, **options)
            for linear_name, linear in inside.items():
                qtensors[linear_name] = named(linear_name, rtn, linear.weight, scheme)
                round_in_place(linear, qtensors[linear_name])
            flow.advance()
    for name, linear in linears.items():
        if name not in qtensors:
            qtensors[name] = named(name, rtn, linear.weight, scheme)
    return qtensors


def _prepared(model, linears, scheme, calibration) -> tuple[dict[str, dict[str, nn.Linear]], list[Tensor]]:
    """The blocks with their linears, and the batches; what can be refused is refused here, before the work starts."""
    check_fit(scheme, linears)
    blocks = blocks_of(model, linears)
    return blocks, batches_for(model, calibration)
