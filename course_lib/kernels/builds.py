"""The kernels as they are launched on a GPU: what `aot` compiles and the tests hold."""

from course_lib.kernels.aot import ARCHES, Build

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


def gemm(name: str, signature: dict, bm: int, bn: int, warps: int, **more) -> Build:
    layout = {"RUNS": 4, "HAS_ZERO": False, "U": 1, "STAGES": 4, "EVEN": True}
    layout |= {"SCALED": bm > 64, "SPLIT": bm <= 64}
    constants = layout | {"BM": bm, "BN": bn} | more
    nvidia = ("sm_80", "sm_89", "sm_90", "sm_100")  # the text is PTX
    nvidia = ("sm_90",) if bm > 64 else nvidia  # spills on sm_80; Triton 3.7 makes a trap of the scaled tile on sm_100
    return Build(name, "gemm.gemm", signature, constants, weights=bn * 128 * constants["U"], warps=warps,
                 tensor_cores=True, arches=nvidia)  # fmt: skip


def ggml(kind: str, function: str, more: dict, weights: int, **tile) -> Build:
    """`weights` of a row in a turn of the loop."""
    signature = {"x": "*fp16", "blocks": "*i16", "y": "*fp16", "n": "i32", "k": "i32"} | more
    return Build(f"gemv-{kind}", f"ggml.{function}", signature, {"BN": 16} | tile, weights=16 * weights)


def w8a8(name: str, function: str, kind: str, bm: int, **more) -> Build:
    scales = {"sx": "*fp32", "sw": "*fp32", "y": "*fp16", "m": "i32", "n": "i32", "k": "i32"}
    extra = {"zw": "*i32", "total": "*i32"} if kind == "*i8" else {"x_blocks": "i32", "w_blocks": "i32"}
    tile = {"BM": bm, "BN": 64, "BK": 128}
    arches = ARCHES if kind == "*i8" else ("sm_89", "sm_90", "sm_100")
    signature = {"x": kind, "w": kind} | scales | extra
    return Build(name, f"w8a8.{function}", signature, tile | more, tensor_cores=True, arches=arches)


def fp4(name: str, function: str, words: int, mx: bool, **tile) -> Build:
    signature = {"x": "*fp16", "words": "*i32", "scale": "*u8", "row": "*fp32", "y": "*fp16", "n": "i32", "k": "i32"}
    signature |= {"m": "i32"} if function == "gemm" else {}
    rows = tile.setdefault("BN", 64 if function == "gemm" else 32)
    arches = ARCHES if mx else ("sm_89", "sm_90", "sm_100")
    return Build(name, f"fp4.{function}", signature, {"W": words, "MX": mx} | tile, weights=rows * 512 if "BB" in tile
                 else rows * 128, tensor_cores=function == "gemm", arches=arches)  # fmt: skip


def kv(kind: str, stored: str, bits: int) -> Build:
    floats = dict.fromkeys(("ks", "kz", "vs", "vz", "out", "top", "total"), "*fp32") | {"scale": "fp32"}
    whole = {"table": "*i32", "lengths": "*i32", "heads": "i32", "most": "i32", "window": "i32"}
    tile = {"G": 16, "D": 128, "SIZE": 32, "BITS": bits, "SIGNED": kind == "fp8"}
    arches = ("sm_89", "sm_90", "sm_100") if kind == "fp8" else ARCHES
    signature = {"q": "*fp16", "keys": stored, "values": stored} | floats | whole
    return Build(f"kv-{kind}", "kv.attend", signature, tile, tensor_cores=True, arches=arches)


BUILDS = (
    gemv(1, "v1_naive"),
    gemv(2, "v2_group"),
    gemv(3, "v3_magic"),
    gemv(4, "v4_in_place"),
    gemv(5, "v5_split"),
    gemm("gemm-1", GEMM, 8, 64, 4, U=2),
    gemm("gemm-1-bf16", GEMM | BF16, 8, 64, 4, U=2),
    gemm("gemm-16-g32", GEMM, 16, 64, 4, RUNS=1, HAS_ZERO=True),
    gemm("gemm-64", GEMM, 64, 128, 8),
    gemm("gemm-512", GEMM, 256, 128, 8, STAGES=3),
    gemm("gemm-512-bf16", GEMM | BF16, 256, 128, 8, STAGES=3),
    w8a8("int8-64", "int8_gemm", "*i8", 64, HAS_ZERO=True),
    w8a8("fp8-64", "fp8_gemm", "*fp8e4nv", 64, BH=128),
    fp4("mxfp4-1", "gemv", 4, True, BB=16),
    fp4("nvfp4-1", "gemv", 2, False, BB=32),
    fp4("mxfp4-64", "gemm", 4, True, BM=64, TW=16),
    fp4("nvfp4-64", "gemm", 2, False, BM=64, TW=16),
    kv("int8", "*i8", 8),
    kv("fp8", "*fp8e4nv", 8),
    kv("int4", "*u8", 4),
    ggml("Q4_0", "q4_0", {}, 256, BB=8),
    ggml("Q8_0", "q8_0", {}, 256, BB=8),
    ggml("Q4_K", "q4_k", {"blocks": "*i32", "scales": "*u8"}, 256),
    ggml("Q6_K", "q6_k", {"scales": "*i8"}, 256),
)
