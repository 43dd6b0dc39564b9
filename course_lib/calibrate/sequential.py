"""Methods that look at activations, one decoder block after the other: each sees what the blocks before it became."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from torch import nn

from course_lib.calibrate import autoround
from course_lib.calibrate.awq import rescale
from course_lib.calibrate.blocks import Flow, blocks_of, inputs_of
from course_lib.calibrate.calibration import batches_for
from course_lib.calibrate.experts import hearing_all
from course_lib.calibrate.gptq import gptq
from course_lib.calibrate.order import plan_of
from course_lib.calibrate.rtn import rtn
from course_lib.calibrate.solve import named, own, round_in_place
from course_lib.calibrate.stats import Running, collect, evaluating, listening, require_all
from course_lib.calibrate.targets import check_fit
from course_lib.progress import each
from course_lib.qtensor import QTensor

# (flow, linears of the block in front of which it stands, scheme, **options) -> QTensors; the block is rounded in place
OneBlock = Callable[..., dict[str, QTensor]]


def gptq_block(
    flow: Flow,
    inside: dict[str, nn.Linear],
    scheme,
    solve=None,
    all_experts=False,
    unheard="error",
    least=0.0,
    **options,
) -> dict[str, QTensor]:
    """GPTQ in true-sequential order: H of o is measured behind the quantized q, k, v, and so on.

    options are those of `gptq`; solve is a function (w, H, scheme) -> QTensor, such as your own, to use instead.
    all_experts measures each expert's H on all tokens, not on its own (llm-compressor's default). A linear that never
    ran, an expert that no token was sent to, is named in a ValueError; unheard="nearest" rounds it to nearest instead,
    and with it all that heard less than the share `least` of the tokens (GPTQModel 7.6: 0.005); flow.few names them.
    """
    if unheard not in ("error", "nearest"):
        raise ValueError(f"unheard must be 'error' or 'nearest', got {unheard!r}")
    if not 0 <= least < 1 or (least and unheard == "error"):
        raise ValueError(f"least must be a share below 1, and needs unheard='nearest', got {least!r}")
    fewest = max(1, least * sum(hidden[..., 0].numel() for hidden in flow.hidden)) if unheard == "nearest" else 0
    with hearing_all(flow.block, all_experts):
        return _gptq_block(flow, inside, scheme, solve, fewest, options)


def _gptq_block(flow, inside, scheme, solve, fewest, options) -> dict[str, QTensor]:
    done: dict[str, QTensor] = {}
    order, again, silent = plan_of(inside, flow.block, flow.shapes()) if inside else ([], set(), {})
    for group in order:
        once = again.isdisjoint(group)
        found = inputs_of(group, flow.block, flow.calls(), lambda: Running(sample_rows=0), once)
        heard = {name: found[name].n if name in found else 0 for name in group}
        deaf = {name: linear for name, linear in group.items() if heard[name] < fewest}
        flow.few |= {name: heard[name] for name in deaf}
        rest = {name: linear for name, linear in group.items() if name not in deaf}
        require_all(found, rest)
        done |= _solved(rest, {name: running.H for name, running in found.items()}, scheme, solve, **options)
        done |= _rounded(deaf, scheme)
        if not again and not silent:
            flow.finish(_finished(flow.block, inside, done))
    return done


def _finished(block: nn.Module, inside: dict[str, nn.Linear], done: dict[str, QTensor]) -> list[nn.Module]:
    """The children of a block, each with some of these linears, whose linears are all done."""
    found = []
    for child in block.children():
        own_ones = {name for name, linear in inside.items() if any(part is linear for part in child.modules())}
        if own_ones and own_ones <= done.keys():
            found.append(child)
    return found


def awq_block(flow: Flow, inside: dict[str, nn.Linear], scheme, **options) -> dict[str, QTensor]:
    """AWQ: rescale, fold and clip the block, then round it."""
    if inside:
        rescale(flow.block, list(flow.calls()), scheme, inside, **options)
    return _rounded(inside, scheme)


def autoround_block(
    flow: Flow, inside: dict[str, nn.Linear], scheme, quantized_input: bool = True, **options
) -> dict[str, QTensor]:
    """Learned rounding: the block, on what the blocks before it became, is to give what the 16-bit model has there.

    quantized_input=False shows it what the 16-bit blocks before it gave; options are those of `autoround.learn`.
    """
    inputs = flow.hidden if quantized_input or flow.exact is None else flow.exact
    with listening(inside, lambda: Running(hessian=False, sample_rows=0)) as found:
        targets = flow.targets()
    require_all(found, inside)
    if not inside:
        return {}
    calls = [replace(call, hidden=x) for x, call in zip(inputs, flow.calls(), strict=True)]
    done = autoround.learn(flow.block, calls, targets, inside, scheme, **options)
    for name, linear in inside.items():
        round_in_place(linear, done[name])
    return done


def rtn_block(flow: Flow, inside: dict[str, nn.Linear], scheme) -> dict[str, QTensor]:
    """Round to nearest, which looks at nothing."""
    return _rounded(inside, scheme)


ONE_BLOCK: dict[str, OneBlock] = {
    "gptq": gptq_block,
    "awq": awq_block,
    "autoround": autoround_block,
    "rtn": rtn_block,
}


def by_gptq(model, linears, scheme, calibration, progress, solve=None, **options) -> dict[str, QTensor]:
    """`gptq_block` for every block; then linears outside the blocks, with H measured behind all of them."""
    batches = _batches(model, linears, scheme, calibration)
    done = _blocks("gptq", model, linears, scheme, batches, progress, solve=solve, **options)
    outside = {name: linear for name, linear in linears.items() if name not in done}
    if outside:
        H = {name: stats.H for name, stats in collect(model, batches, outside, progress=progress).items()}
        done |= _solved(outside, H, scheme, solve, **options)
    return done


def by_awq(model, linears, scheme, calibration, progress, **options) -> dict[str, QTensor]:
    """`awq_block` for every block; linears outside the blocks are only rounded."""
    batches = _batches(model, linears, scheme, calibration)
    done = _blocks("awq", model, linears, scheme, batches, progress, **options)
    return done | _rounded({name: linear for name, linear in linears.items() if name not in done}, scheme)


def by_autoround(model, linears, scheme, calibration, progress, **options) -> dict[str, QTensor]:
    """`autoround_block` for every block; linears outside the blocks are only rounded."""
    autoround.check_options(scheme, **options)
    batches = _batches(model, linears, scheme, calibration)
    done = _blocks("autoround", model, linears, scheme, batches, progress, **options)
    return done | _rounded({name: linear for name, linear in linears.items() if name not in done}, scheme)


def _blocks(method: str, model, linears, scheme, batches, progress, **options) -> dict[str, QTensor]:
    blocks, done = blocks_of(model, linears), {}
    with evaluating(model):
        flow = Flow(model, list(blocks), batches)
        for _, inside in each(blocks, method, progress):
            done |= ONE_BLOCK[method](flow, inside, scheme, **options)
            flow.advance()
    return done


def _batches(model, linears, scheme, calibration):
    """Batches of calibration tokens; what can be refused is refused here, before the work starts."""
    check_fit(scheme, linears)
    blocks_of(model, linears)
    return batches_for(model, calibration)


def _solved(group: dict[str, nn.Linear], H: dict, scheme, solve, **options) -> dict[str, QTensor]:
    done = {}
    for name, linear in group.items():
        if solve is None:
            done[name] = named(name, gptq, linear.weight, H[name], scheme, **options)
        else:
            done[name] = own(name, solve, linear.weight, H[name].clone(), scheme)
        round_in_place(linear, done[name])
    return done


def _rounded(linears: dict[str, nn.Linear], scheme) -> dict[str, QTensor]:
    done = {}
    for name, linear in linears.items():
        done[name] = named(name, rtn, linear.weight, scheme)
        round_in_place(linear, done[name])
    return done
