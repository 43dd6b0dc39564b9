"""The kernels as they are launched on a GPU: what `aot` compiles and the tests hold."""

from dataclasses import dataclass, replace

ARCHES = ("sm_80", "sm_89", "sm_90", "sm_100", "gfx942")


@dataclass(frozen=True)
class Build:
    """One kernel as it is launched: types of its arguments, its constants, and the weights in a turn of its loop."""

    name: str
    function: str  # module.name under course_lib.kernels
    signature: dict[str, str]  # argument -> *fp16, *i32, i32 …; the others are constants
    constants: dict[str, int | bool]
    weights: int = 0  # of a program, in a turn; 0 where it makes no sense
    warps: int = 4
    tensor_cores: bool = False
    arches: tuple[str, ...] = ARCHES  # those whose hardware has the number formats
    most: int | None = None  # registers that a thread may have, where the launch says so


GEMV = {
    "x": "*fp16",
    "words": "*i32",
    "scale": "*fp16",
    "zero": "*fp16",
    "y": "*fp16",
    "n": "i32",
    "k": "i32",
    "one": "i32",
}
GEMM = {
    "x": "*fp16",
    "halves": "*i16",
    "scale": "*fp16",
    "zero": "*fp16",
    "y": "*fp16",
    "partial": "*fp32",
    "locks": "*i32",
    "m": "i32",
    "n": "i32",
    "k": "i32",
}
BF16 = {"x": "*bf16", "scale": "*bf16", "y": "*bf16"}
GROUP_128 = {"W": 16, "GB": 1, "HAS_ZERO": False}


def gemv(version: int, function: str, **more) -> Build:
    tile = {"BN": 32, "BB": 4, "EVEN": True}
    return Build(f"gemv-{version}", f"gemv.{function}", GEMV, GROUP_128 | tile | more, weights=32 * 4 * 128)


def gemm(name: str, signature: dict, bm: int, bn: int, c: int, warps: int, **more) -> Build:
    """As `gemm.LAUNCHES` has it, for rows in groups of 128 and runs of 128."""
    layout = {"R": 128, "RUNS": 1, "HAS_ZERO": False, "U": 1, "STAGES": 3, "EVEN": True, "SPLIT": True}
    constants = layout | {"BM": bm, "BN": bn, "C": c} | more
    return Build(name, "gemm.gemm", signature, constants, weights=bn * 4 * c * constants["U"], warps=warps,
                 tensor_cores=True, arches=("sm_80", "sm_89", "sm_90", "sm_100"))  # fmt: skip


def wide(name: str, signature: dict, bm: int, bn: int, c: int, warps: int, **more) -> Build:
    """As `gemm`, where weights are scaled before they are multiplied: on Hopper, for many tokens."""
    narrow = gemm(name, signature, bm, bn, c, warps, **more)
    constants = {key: value for key, value in narrow.constants.items() if key != "U"}
    return replace(narrow, function="gemm.wide", constants=constants, arches=("sm_90",))


NVIDIA = ("sm_80", "sm_89", "sm_90", "sm_100")  # dp4a and prmt are PTX
DIGITS = {"DIGITS": 2, "ASM": True}


def ggml(kind: str, elements: int, wide: int, more: dict) -> Build:
    signature = {"x": "*i32", "scale": "*fp32", "blocks": "*i16", "y": "*fp16", "n": "i32", "k": "i32"} | more
    rows = 1 if kind == "q4_k" else 2
    tile = {"BN": rows, "BB": wide, "STAGES": 1}
    return Build(f"gemv-{kind.upper()}", f"ggml.{kind}", signature, DIGITS | tile, rows * wide * elements, wide // 4
                 if rows == 1 else 1, arches=NVIDIA)  # fmt: skip


def trellis(code: str, bits: int = 2) -> Build:
    """Windows of 16 bits, as QTIP and exllamav3 have them, and the first of the launches."""
    signature = dict.fromkeys(("x", "scale", "y"), "*fp32") | {"words": "*i32", "n": "i32", "tiles": "i32"}
    tile = {"K": bits, "L": 16, "CODE": code, "ASM": True, "BN": 2, "BC": 128, "EVEN": True}
    return Build(f"trellis-{code}" + (f"-{bits}" if bits != 2 else ""), "trellis.product", signature, tile,
                 2 * 128 * 16, 1, arches=NVIDIA)  # fmt: skip


def w8a8(name: str, function: str, kind: str, weights: int = 0, warps: int = 4, **more) -> Build:
    """With `weights` a GEMV, which has no m. The tiles of a pair come by descriptors, by Hopper's copy engine."""
    signature = {"x": kind, "w": kind, "sx": "*fp32", "sw": "*fp32", "y": "*fp16", "n": "i32", "k": "i32"}
    signature |= {} if weights else {"m": "i32", "each": "i32"}
    int8, pair = function.startswith("int8"), function == "fp8_pair"
    signature |= {"zw": "*i32", "total": "*i32"} if int8 else {"x_blocks": "i32", "w_blocks": "i32"}
    if pair:
        signature |= {a: f"tensordesc<{kind[1:]}[{more[b]}, {more['BK']}]>" for a, b in (("x", "BM"), ("w", "BN"))}
        return Build(name, f"w8a8_tiles.{function}", signature, more, 0, warps, True, ("sm_90",))
    arches = NVIDIA if weights else ARCHES[:3] + ARCHES[4:] if more["BM"] > 64 else ARCHES  # sm_100 has no IGMMA
    module = "w8a8" if weights else "w8a8_tiles"
    return Build(name, f"{module}.{function}", signature, {"EVEN": True} | more, weights, warps, not weights,
                 arches if int8 else ("sm_89", "sm_90", "sm_100"))  # fmt: skip


def fp4(name: str, mx: bool, bm: int, bn: int, warps: int, more: dict | None = None, **constants) -> Build:
    signature = GEMM | {"scale": "*i32", "row": "*fp32"} | {a: v for a, v in (more or {}).items() if a != "scale"}
    signature = {name: kind for name, kind in signature.items() if name != "zero"}
    constants = {"MX": mx, "BM": bm, "BN": bn, "STAGES": 4, "EVEN": True, "SPLIT": True} | constants
    arches = ("sm_89", "sm_90", "sm_100") if bm < 64 else ("sm_89", "sm_90") if bm < 128 else ("sm_90",)
    return Build(name, "fp4.gemm", signature, constants, bn * 128, warps, True, arches)  # arches: see fp4.tiles


def kv(kind: str, bits: int, tokens: int, warps: int) -> Build:
    """Its weights are the codes of a tile, keys and values."""
    floats = dict.fromkeys(("ks", "kz", "vs", "vz", "out", "top", "total"), "*fp32") | {"scale": "fp32"}
    whole = {"table": "*i32", "lengths": "*i32"} | dict.fromkeys(("most", "count", "window"), "i32")
    tile = {"HEADS": 8, "SHARED": 4, "G": 4, "D": 128, "SIZE": 64, "BITS": bits, "SIGNED": kind == "fp8"}
    tile |= {"HAS_ZERO": kind != "fp8", "BY_HEAD": True, "ASM": True, "PDL": False, "T": tokens, "STAGES": 3}
    arches = ("sm_89", "sm_90", "sm_100") if kind == "fp8" else NVIDIA
    signature = {"q": "*bf16", "keys": "*i16", "values": "*i16"} | floats | whole
    return Build(f"kv-{kind}-{tokens}", "kv.attend", signature, tile, 2 * tokens * 128, warps, True, arches)


def fused(name: str, function: str, signature: dict[str, str], **constants) -> Build:
    """Without dependent launches, which older GPUs lack; 8 rows of 512 weights in a turn, or 4."""
    weights = 0 if function == "_attention" else 4096 if constants["GATED"] else 2048
    return Build(name, f"fused.{function}", signature, constants | {"PDL": False}, weights, 4, not weights, ARCHES)


FLOATS = dict.fromkeys(("cos", "sin", "out", "top", "total"), "*fp32") | {"scale": "fp32"}
WHOLE = {"positions": "*i32", "room": "i32", "heads": "i32"}
ATTENTION = dict.fromkeys(("qkv", "keys", "values"), "*bf16") | FLOATS | WHOLE
PRODUCTS = dict.fromkeys(("x", "g", "w", "y"), "*bf16") | {"n": "i32", "k": "i32", "eps": "fp32"}
PLAIN = {"NORM": True, "GATED": False, "ADD": False, "EVEN": True, "BN": 4, "BK": 512}


def lanes(name: str, bits: int, gated: bool, depth: int) -> Build:
    """Four warps that share a row; where gates ride along a norm does, else a residual and the next norm."""
    floats = dict.fromkeys(("x", "y", "g", "h"), "*bf16") | {"squares": "*fp32", "new_squares": "*fp32", "eps": "fp32"}
    words = {"words": "*i32", "ahead": "*i32", "scale": "*bf16" if bits == 4 else "*fp32"}
    whole = dict.fromkeys(("n", "k", "parts", "stride", "each", "size"), "i32")
    tile = {"BITS": bits, "R": 32, "RUNS": 4, "NORM": gated, "GATED": gated, "ADD": not gated, "NEXT": not gated}
    tile |= {"P": 256, "EVEN": True, "ASM": True, "PDL": True, "NB": 4, "ROWS": 8, "DEPTH": depth}
    signature, weights = floats | words | whole, depth * 1024 * 32 // bits
    return Build(name, "lane_kernel.products", signature, tile, weights, 4, True, ("sm_90",))


def stays(name: str, bits: int, gated: bool, warps: int, depth: int, most: int) -> Build:
    """The same by programs that stay, which spend the end of a set of rows in the loop, too."""
    short = lanes(name, bits, gated, depth)
    constants = short.constants | {"NB": warps, "ASK": 1}
    return replace(short, function="lane_stay.products", constants=constants, warps=warps, most=most,
                   weights=short.weights * warps // 4, arches=("sm_90", "sm_100"))  # fmt: skip


INT4 = {"halves": "*i16", "scale": "*fp32", "zero": "*fp32", "w": "*fp32", "n": "i32", "k": "i32"}
DEQUANTIZE = Build("dequantize-int4", "dequantize.int4", INT4, {"R": 32, "RUNS": 4, "HAS_ZERO": False, "BN": 64},
                   arches=NVIDIA)  # fmt: skip

STREAMS = {"words": "*i32", "scale": "*fp32", "w": "*fp16", "n": "i32", "k": "i32", "tiles": "i32"}
DECODE = Build("dequantize-trellis", "trellis.decode", STREAMS, {"K": 2, "L": 16, "CODE": "1mad", "ASM": True, "BN": 8,
               "BK": 256}, arches=NVIDIA)  # fmt: skip


def tokens(name: str, codes: str, arches: tuple[str, ...]) -> Build:
    signature = {"x": "*bf16", "codes": codes, "scale": "*fp32", "total": "*i32", "k": "i32"}
    return Build(name, "tokens.by_token", signature, {"INT8": codes == "*i8", "BK": 8192}, warps=16, arches=arches)


BUILDS = (
    gemv(1, "v1_naive"),
    gemv(2, "v2_group"),
    gemv(3, "v3_magic"),
    gemv(4, "v4_in_place"),
    gemv(5, "v5_split"),
    gemm("gemm-1", GEMM, 8, 64, 128, 4),
    gemm("gemm-1-bf16", GEMM | BF16, 8, 64, 128, 4),
    gemm("gemm-1-g32", GEMM, 8, 64, 32, 4, R=32, U=2, STAGES=4, HAS_ZERO=True),
    gemm("gemm-16", GEMM, 16, 64, 64, 4),
    gemm("gemm-64", GEMM, 64, 128, 32, 8),
    wide("gemm-1-zeros", GEMM | BF16, 8, 64, 64, 4, STAGES=4, HAS_ZERO=True),
    wide("gemm-64-scaled", GEMM, 64, 64, 64, 4),
    wide("gemm-512", GEMM, 256, 128, 32, 8, SPLIT=False),
    wide("gemm-512-bf16", GEMM | BF16, 256, 128, 32, 8, SPLIT=False),
    w8a8("int8-1", "int8_gemv", "*i32", 4 * 1024, 2, HAS_ZERO=True, ASM=True, BN=4, BC=256),
    w8a8("fp8-1", "fp8_gemv", "*fp8e4nv", 2 * 512, 1, BH=1, BLOCKED=False, BN=2, BC=512),
    w8a8("fp8-1-blocks", "fp8_gemv", "*fp8e4nv", 2 * 512, 1, BH=128, BLOCKED=True, BN=2, BC=512),
    w8a8("int8-64", "int8_gemm", "*i8", HAS_ZERO=True, SPLIT=False, BM=64, BN=64, BK=128),
    w8a8("int8-128", "int8_gemm", "*i8", HAS_ZERO=True, SPLIT=True, BM=128, BN=64, BK=128),
    w8a8("int8-512", "int8_gemm", "*i8", HAS_ZERO=True, SPLIT=False, BM=128, BN=128, BK=128),
    w8a8("fp8-64", "fp8_gemm", "*fp8e4nv", BH=1, BLOCKED=False, BM=64, BN=64, BK=128),
    w8a8("fp8-512", "fp8_pair", "*fp8e4nv", BH=1, BM=64, BN=128, BK=128),
    w8a8("fp8-512-blocks", "fp8_gemm", "*fp8e4nv", BH=128, BLOCKED=True, BM=64, BN=128, BK=128),
    fp4("mxfp4-1", True, 8, 128, 4),
    fp4("nvfp4-1", False, 8, 128, 4),
    fp4("mxfp4-64", True, 64, 128, 8),
    fp4("nvfp4-64", False, 64, 128, 8),
    fp4("nvfp4-64-bf16", False, 64, 128, 8, BF16),
    fp4("nvfp4-512-bf16", False, 256, 128, 8, BF16, STAGES=3, SPLIT=False),
    kv("int8", 8, 64, 2),
    kv("int8", 8, 32, 1),
    kv("fp8", 8, 64, 2),
    kv("int4", 4, 64, 1),
    ggml("q4_0", 32, 16, {}),
    ggml("q8_0", 32, 8, {}),
    ggml("q4_k", 256, 16, {"blocks": "*i32", "sums": "*fp32"}),
    ggml("q6_k", 256, 4, {"scales": "*i8"}),
    trellis("1mad"),
    trellis("3inst"),
    trellis("mcg"),
    trellis("mul1"),
    trellis("1mad", 3),
    trellis("1mad", 4),
    fused("fused-products", "_products", PRODUCTS, **PLAIN),
    fused("fused-gated", "_products", PRODUCTS, **PLAIN | {"GATED": True}),
    fused("fused-attention", "_attention", ATTENTION, SHARED=4, G=16, D=128, SIZE=32),
    lanes("lanes-int4", 4, False, 2),
    lanes("lanes-int4-gated", 4, True, 4),
    lanes("lanes-fp8", 8, False, 4),
    lanes("lanes-fp8-gated", 8, True, 4),
    stays("lanes-int4-stay", 4, False, 8, 2, 128),
    stays("lanes-int4-gated-stay", 4, True, 8, 2, 128),
    stays("lanes-fp8-stay", 8, False, 8, 2, 128),
    stays("lanes-fp8-gated-stay", 8, True, 4, 4, 168),
    DEQUANTIZE,
    DECODE,
    tokens("tokens-int8", "*i8", NVIDIA),
    tokens("tokens-fp8", "*fp8e4nv", NVIDIA[1:]),
)
