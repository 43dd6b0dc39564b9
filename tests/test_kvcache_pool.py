"""The pool of pages: held against lists of tokens, the formula of `paging`, and attention through its pages."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from course_lib import kvcache
from course_lib.kvcache.pool import PagePool

ONE = dict(num_hidden_layers=1, num_attention_heads=1, num_key_value_heads=1, head_dim=1, hidden_size=1)


def laws(pool, texts):
    """What must hold at any time, counted anew from the live texts."""
    users = [0] * len(pool.users)
    for text in texts:
        assert [t for page in text.pages for t in pool.held[page]] == text.tokens
        assert len(text.pages) == math.ceil(len(text.tokens) / pool.block) and len(set(text.pages)) == len(text.pages)
        for page in text.pages:
            users[page] += 1
    assert users == pool.users
    assert sorted(pool.free) == [page for page, count in enumerate(users) if not count]
    assert all(not pool.held[page] for page in pool.free)
    assert all(pool.users[page] for page in pool.known.values())
    if not pool.share:
        assert max(users) <= 1


WHAT = st.sampled_from(["start", "fork", "append", "append", "end"])
STEPS = st.lists(st.tuples(WHAT, st.integers(0, 9), st.integers(0, 30)), min_size=20, max_size=50)


@settings(max_examples=150, deadline=None)
@given(steps=STEPS, block=st.integers(1, 5), pages=st.integers(3, 20), share=st.booleans())
def test_whatever_happens_each_text_reads_as_it_was_written(steps, block, pages, share):
    pool, texts = PagePool(pages, block, share), []
    for what, who, n in steps:
        before = list(pool.users)
        text = texts[who % len(texts)] if texts else None
        if what == "start":
            made = pool.start([k % 3 for k in range(1 + n % 11)] + [n])
            texts += [made] if made else []
            assert made or pool.users == before
        elif text and what == "fork":
            made = pool.fork(text)
            texts += [made] if made else []
            assert made or pool.users == before
        elif text and what == "append":
            if not pool.append(text, n):
                assert not pool.free and pool.users == before
        elif text:
            pool.end(text)
            texts.remove(text)
        laws(pool, texts)
    for text in texts:
        pool.end(text)
    assert sorted(pool.free) == list(range(pages)) and not pool.known


@pytest.mark.parametrize("block", [1, 4, 16])
@pytest.mark.parametrize("shared, lengths", [(0, [5, 17]), (20, [20, 33, 70]), (32, [40, 33, 64, 65])])
def test_it_hands_out_what_the_formula_counts(block, shared, lengths):
    pool = PagePool(500, block)
    for k, n in enumerate(lengths):
        pool.start([*range(shared), *(1000 * (k + 1) + at for at in range(n - shared))])
    taken = len(pool.users) - len(pool.free)
    assert taken == kvcache.paged_bytes(ONE, lengths, block, 16, shared) / kvcache.block_bytes(ONE, block)


def test_a_fork_shares_all_and_the_first_writer_gets_a_copy():
    pool = PagePool(6, 4)
    first = pool.start([1, 2, 3, 4, 5, 6])
    second = pool.fork(first)
    assert first.pages == second.pages == [0, 1] and pool.users[:3] == [2, 2, 0]
    assert pool.append(first, 7) and first.pages == [0, 2] and pool.held[1] == [5, 6] and pool.held[2] == [5, 6, 7]
    assert pool.append(second, 8) and second.pages == [0, 1] and pool.copies == 1, "the last user writes in place"
    pool.end(second)
    assert pool.users == [1, 0, 1, 0, 0, 0] and first.tokens == [1, 2, 3, 4, 5, 6, 7]


def test_a_page_that_became_whole_while_writing_is_shared_too():
    pool = PagePool(6, 2)
    first = pool.start([1])
    for token in (2, 3, 4):
        pool.append(first, token)
    assert pool.start([1, 2, 3, 4, 5]).pages == [0, 1, 2]


def test_a_shared_page_needs_no_free_one():
    pool = PagePool(3, 2)
    pool.start([1, 2, 3])
    assert pool.start([5, 6, 7]) is None and pool.users == [1, 1, 0]
    assert pool.start([1, 2, 4]).pages == [0, 2]


def test_what_ended_is_forgotten():
    pool = PagePool(4, 2)
    pool.end(pool.start([1, 2, 3]))
    assert pool.start([1, 2, 4]).pages == [0, 1] and pool.users == [1, 1, 0, 0]


def test_arguments_are_checked():
    with pytest.raises(ValueError, match="block"):
        PagePool(4, 0)
    with pytest.raises(ValueError, match="tokens must be at least one token"):
        PagePool(4).start([])


def test_attention_through_shared_pages_is_attention_over_the_text():
    """Keys and values of each token, written once where the pool says, read by torch through the table of each text."""
    draw = torch.Generator().manual_seed(0)
    keys, values, query = (torch.randn(200, 8, generator=draw) for _ in range(3))
    pool = PagePool(12, 4)
    texts = [pool.start([*range(10), 50 + k]) for k in range(3)]
    texts.append(pool.fork(texts[0]))
    for at in range(7):
        for k, text in enumerate(texts):
            assert pool.append(text, 100 + 10 * k + at) or not pool.free
    store = [torch.full((12, 4, 8), float("nan")) for _ in range(2)]
    for page, tokens in enumerate(pool.held):
        for slot, token in enumerate(tokens):
            store[0][page, slot], store[1][page, slot] = keys[token], values[token]
    assert pool.copies == 1 and pool.users[0] == 4
    for k, text in enumerate(texts):
        n, attend = len(text.tokens), torch.nn.functional.scaled_dot_product_attention
        read = [part[text.pages].flatten(0, 1)[:n] for part in store]
        want = attend(query[k][None, None], keys[text.tokens][None], values[text.tokens][None])
        assert torch.equal(attend(query[k][None, None], *(part[None] for part in read)), want)
