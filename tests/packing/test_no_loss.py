"""Tokens without loss: from bytes of a text to tokens of the rows that it goes out in."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer as HuggingFaceTokenizer

from kernels.columns import Ragged, bounds_of, join_texts
from packing.held import HeldDocuments
from packing.no_loss import muted_tokens, ranges_of, ranges_of_tokens
from packing.tokenizer import Tokenizer, TokenizerConfig, open_tokenizer
from tests.kept import Kept
from tests.packing.test_tokenizer import byte_level, lower, sentencepiece_like, unigram_like

TEXT = "Größe und Maß: 12 Ärzte, «déjà vu» 東京で\n\nThe end, e\u0301 ﬁn. 🦩 flamingo"


def open_saved(tokenizer: HuggingFaceTokenizer, folder: Path) -> Tokenizer:
    tokenizer.save(str(folder / "tokenizer.json"))
    return open_tokenizer(TokenizerConfig(name=str(folder), bos=False, eos=False))


@given(
    lengths=st.lists(st.integers(0, 4), max_size=12),
    ranges=st.lists(st.tuples(st.integers(0, 40), st.integers(1, 9)), max_size=4),
)
def test_a_token_is_muted_if_one_of_its_bytes_is(lengths: list[int], ranges: list[tuple[int, int]]) -> None:
    ends_T = np.cumsum(lengths).astype(np.int64)
    bytes_R2 = np.array([(first, first + size) for first, size in ranges], np.int64).reshape(-1, 2)
    muted_bytes = {byte for first, end in bytes_R2.tolist() for byte in range(first, end)}

    found = ranges_of_tokens(ends_T, bytes_R2)

    muted = {token for first, end in found.tolist() for token in range(first, end)}
    for token, end in enumerate(ends_T.tolist()):
        length = next((length for length in lengths[token:] if length), 0)  # of the token whose character it begins
        first = end - lengths[token]
        assert (token in muted) == bool(muted_bytes & set(range(first, first + length)))


@given(
    pieces=st.lists(st.tuples(st.integers(0, 3), st.integers(0, 10), st.integers(0, 10)), max_size=8),
    seed=st.integers(0, 99),
)
def test_pieces_have_the_muted_tokens_of_their_documents(pieces: list[tuple[int, int, int]], seed: int) -> None:
    of_documents = np.random.default_rng(seed).random((4, 20)) < 0.4
    of_documents[3] = False
    known = {doc_no: ranges_of(of_documents[doc_no]) for doc_no in range(3)}
    doc_nos_S, starts_S, lengths_S = np.array(pieces, np.int64).reshape(-1, 3).T

    found = muted_tokens(known, doc_nos_S, starts_S, lengths_S)

    wanted = [token for doc_no, start, length in pieces for token in of_documents[doc_no, start : start + length]]
    if found is None:
        assert not any(wanted)
    else:
        assert found.tolist() == wanted


@pytest.mark.parametrize("bos", [False, True])
@pytest.mark.parametrize("eos", [False, True])
def test_tokens_of_a_part_of_a_text_hold_that_part_and_hardly_more(bos: bool, eos: bool) -> None:
    tokenizer = open_tokenizer(TokenizerConfig(bos=bos, eos=eos))
    tokens_T = tokenizer.encode_batch(join_texts([TEXT])).values_T
    for part in ("Maß", "déjà vu", "東京", "🦩", "The end", TEXT):
        first = TEXT.encode().index(part.encode())
        ranges_R2 = tokenizer.ranges_of_tokens(tokens_T, TEXT, np.array([[first, first + len(part.encode())]]))

        muted = tokenizer.decode(np.concatenate([tokens_T[a:b] for a, b in ranges_R2.tolist()]))
        assert part in muted
        assert len(muted) <= len(part) + 8
    assert ranges_R2.tolist() == [[int(bos), len(tokens_T) - int(eos)]]  # BOS and EOS keep theirs


@pytest.mark.parametrize("make", [byte_level, lambda: lower(byte_level()), sentencepiece_like, unigram_like])
def test_tokenizers_that_change_their_text_know_its_places(tmp_path: Path, make: object) -> None:
    assert callable(make)
    tokenizer = open_saved(make(), tmp_path)
    text = "the cat sat on a mat. " * 3 + "Größe 東 of the end"
    tokens_T = tokenizer.encode_batch(join_texts([text])).values_T
    first = text.encode().index("Größe".encode())
    muted_T = np.zeros(len(tokens_T), np.bool_)
    for a, b in tokenizer.ranges_of_tokens(tokens_T, text, np.array([[first, len(text.encode())]])).tolist():
        muted_T[a:b] = True

    assert muted_T[-1]
    assert not muted_T[0]
    assert "cat" not in tokenizer.decode(tokens_T[muted_T])
    assert "end" not in tokenizer.decode(tokens_T[~muted_T])


def test_a_document_whose_tokens_are_not_those_of_its_text_has_no_loss_at_all() -> None:
    tokenizer = open_tokenizer(TokenizerConfig(bos=False, eos=False))
    tokens_T = tokenizer.encode_batch(join_texts([TEXT])).values_T

    assert tokenizer.ranges_of_tokens(tokens_T, TEXT[1:], np.array([[0, 1]])).tolist() == [[0, len(tokens_T)]]


def test_ranges_are_facts_and_go_with_their_document() -> None:
    held, kept = HeldDocuments(), Kept()
    held.add(np.arange(3), ["a", "b", "c"], Ragged(np.arange(12, dtype=np.uint32), bounds_of([4, 4, 4])))
    held.mute(0, np.array([[0, 1]], np.uint32))
    held.mute(2, np.array([[1, 3]], np.uint32))
    held.mute(1, np.zeros((0, 2), np.uint32))
    held.drop(0)
    kept.commit(held)

    again = HeldDocuments()
    kept.restore(again)
    again.restore_holders(np.array([1, 2]), np.array([4, 4]))

    part = np.array([1, 2]), np.array([2, 0]), np.array([2, 4])
    for each in (held, again):
        muted_T = each.muted(*part)
        assert muted_T is not None
        assert muted_T.tolist() == [False, False, False, True, True, False]
        each.let_go(np.array([2]))
        assert each.muted(*part) is None
