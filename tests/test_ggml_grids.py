"""IQ1, IQ2 and IQ3 as they are written: byte for byte ggml's, on data that reaches every branch of its search."""

import numpy as np
import pytest

from course_lib import models
from course_lib.artifacts.gguf import llama
from course_lib.formats import ggml
from course_lib.formats.ggml import nearest, rows, split
from tests import ggml_oracle

pytestmark = [pytest.mark.long, pytest.mark.xdist_group("llama_cpp_grids")]  # C's lists of neighbours take a while
NAMES = ("IQ1_S", "IQ1_M", "IQ2_XXS", "IQ2_XS", "IQ2_S", "IQ3_XXS", "IQ3_S")
COLS = 768  # three blocks a row


def kinds(n=6, seed=3):
    """Rows (n, COLS) of many kinds, by name."""
    rng = np.random.default_rng(seed)
    gauss = rng.standard_normal((n, COLS)).astype(np.float32)
    few = rng.integers(0, 256, (n, COLS // 32)).repeat(32, 1)
    outliers = gauss * np.where(rng.random(gauss.shape) < 0.01, 40, 1)
    return {
        "gaussian": 0.03 * gauss,
        "outliers": outliers,
        "heavy tails": rng.standard_t(2, gauss.shape),
        "zero sub-blocks": np.where(few < 128, gauss, 0),
        "zeros of both signs": np.where(rng.random(gauss.shape) < 0.6, np.copysign(0, gauss), gauss),
        "one number in 32": np.where(np.arange(COLS) % 32 == 7, gauss, 0),
        "few different numbers": np.rint(2 * gauss) / 4,
        "one sign": np.abs(gauss),
        "one sign but for one": np.where(np.arange(COLS) % 8 == 3, -np.abs(gauss), np.abs(gauss)),
        "alternating": np.abs(gauss) * (-1) ** np.arange(COLS),
        "constant": np.sign(gauss[:, :1]) * np.full(gauss.shape, 0.37),
        "uniform": rng.uniform(-1, 1, gauss.shape),
        "scales far apart": gauss * 10.0 ** rng.integers(-7, 2, (n, COLS // 16)).repeat(16, 1),
        "at the edge of zero": gauss * 10.0 ** rng.uniform(-16, -6, (n, COLS // 16)).repeat(16, 1),
        "tiny": gauss * 1e-30,
        "subnormal": gauss * 1e-41,
        "large": gauss * 1e5,
    }


def importances(seed=4):
    rng = np.random.default_rng(seed)
    return {
        "uneven": rng.random(COLS) ** 4,
        "zeros": np.where(rng.random(COLS) < 0.5, rng.random(COLS), 0),
        "zeros in whole sub-blocks": rng.random(COLS) * (rng.random(COLS // 16) < 0.5).repeat(16),
        "none": np.zeros(COLS),
        "few": (np.arange(COLS) % 64 == 5) * 1.0,
        "hardly any": 10.0 ** rng.uniform(-44, -36, COLS),
        "large": 10.0 ** rng.uniform(-6, 6, COLS),
    }


def differ(name, x, w=None):
    """How many blocks of x are not ggml's."""
    x = np.asarray(x, np.float32)
    w = None if w is None else np.asarray(w, np.float32)
    ours, theirs = ggml.quantize(x, name, w), ggml_oracle.quantize(x, name, w)
    size = ggml.TYPES[name].block_bytes
    return int((ours.reshape(-1, size) != theirs.reshape(-1, size)).any(1).sum())


@pytest.mark.parametrize("name", NAMES)
def test_every_kind_of_block_is_ggml_s(name):
    for weighing, w in importances().items():
        for kind, x in kinds().items():
            assert differ(name, x, w) == 0, (kind, weighing)


@pytest.mark.parametrize("name", [name for name in NAMES if not ggml.TYPES[name].needs_imatrix])
def test_and_without_an_importance_matrix(name):
    for kind, x in kinds(n=32).items():
        assert differ(name, x) == 0, kind


@pytest.fixture(scope="module")
def bot():
    return dict(llama.tensors(models.load()[0]))


@pytest.mark.parametrize("name", NAMES)
def test_the_bot_s_weights_are_ggml_s(bot, name):
    """Chosen with care: in blk.0.ffn_down IQ1_M's scales show whether they are fitted again where all eights are rows;
    in blk.2.attn_k a code of IQ2_XXS's first search falls to -1, which is read as 255."""
    for at in ("blk.0.ffn_down.weight", "blk.2.attn_k.weight"):
        w = bot[at].float().numpy()
        for importance in (None, np.random.default_rng(len(at)).random(w.shape[1]).astype(np.float32) ** 2):
            if importance is not None or not ggml.TYPES[name].needs_imatrix:
                assert differ(name, w, importance) == 0, at


def test_where_costs_are_infinite_the_first_sign_makes_the_number_even():
    x = np.zeros((1, 256), np.float32)
    x[:, ::8] = -1e20
    assert differ("IQ2_XS", x, np.ones(256)) == 0


def test_ggml_moves_what_follows_a_sub_block_of_zeros_in_iq3_s():
    """Its writer's places, not only ours: the numbers that come back are not those that went in."""
    x = np.random.default_rng(6).standard_normal((8, 256)).astype(np.float32)
    x[:, 32:64] = 0
    back = ggml_oracle.dequantize(ggml_oracle.quantize(x, "IQ3_S"), "IQ3_S", 256)
    miss = ((back - x) ** 2).mean(0).reshape(8, 32).mean(1) / (x**2).mean()
    assert miss[0] < 0.05 and (miss[2:] > 0.5).all() and differ("IQ3_S", x) == 0
    back = ggml_oracle.dequantize(ggml_oracle.quantize(x, "IQ2_S"), "IQ2_S", 256)
    assert ((back - x) ** 2).mean() < 0.1 * (x**2).mean()


BROKEN = {  # a step of the search left out or done otherwise, and a type whose bytes show it
    "a shorter list of neighbours": ("IQ2_XS", nearest, "DISTANCES", nearest.DISTANCES | {"IQ2_XS": 1}),
    "a longer one": ("IQ2_S", nearest, "DISTANCES", nearest.DISTANCES | {"IQ2_S": 2}),
    "of IQ1": ("IQ1_S", nearest, "DISTANCES", nearest.DISTANCES | {"IQ1_S": 2}),
    "of IQ3": ("IQ3_XXS", nearest, "DISTANCES", nearest.DISTANCES | {"IQ3_XXS": 1}),
    "halves round up": ("IQ3_S", nearest, "nearest_int", lambda v: np.floor(v + np.float32(0.5)).astype(int)),
    "any number of signs": ("IQ3_XXS", rows, "even_signs", rows.free_signs),
    "the first sign makes it even": ("IQ2_XS", rows, "even_signs", lambda x, w: _even(x, 0 * w)),
    "fewer scales": ("IQ2_XS", rows.Rows, "tries", (8, 0.1)),
    "scales further apart": ("IQ2_XS", rows.Rows, "tries", (9, 0.2)),
    "no second choice": ("IQ2_S", rows.Rows, "choose_again", lambda *_: None),
    "all choose again": ("IQ2_S", rows.Rows, "again", "all"),
    "numbers that are not sorted": ("IQ1_M", split, "codes_of", lambda order, best: _codes(order[::-1], best)),
    "codes moved one way": ("IQ1_S", split, "DOWN", split.UP),
    "both halves one way": ("IQ1_M", split, "_both_ways", lambda *a: tuple(t[:1] * 2 for t in _both(*a))),
}
_even, _codes, _both = rows.even_signs, split.codes_of, split._both_ways


@pytest.mark.parametrize("step", BROKEN)
def test_each_step_of_the_search_is_seen_in_the_bytes(step, monkeypatch):
    name, where, what, instead = BROKEN[step]
    x, w = kinds()["gaussian"], importances()["uneven"]
    assert differ(name, x, w) == 0
    monkeypatch.setattr(where, what, instead)
    nearest.book.cache_clear()
    try:
        assert differ(name, x, w) > 0
    finally:
        nearest.book.cache_clear()
