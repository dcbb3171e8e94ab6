"""The kernels against tiktoken, for any text."""

from __future__ import annotations

import base64
import json
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from importlib import resources

import numpy as np
import pytest
import tiktoken
from hypothesis import example, given, settings
from hypothesis import strategies as st

from kernels import bpe as kernels
from kernels.columns import join_texts
from packing.bpe import PATTERNS, BytePairEncoder, tiktoken_engine

EXPRESSIONS = sorted(PATTERNS)

# Where the alternatives of the expressions meet: case, marks, digits, contractions, signs, slashes, white space.
EDGES = [
    "", "a", "A", "\n", " ", "\0", "ab CD eF GHi jKL", "HTTPServer OpenAI's IT'S we'LL 'tis 'S 'ſ I'VE",
    "e\u0301 E\u0301X \u0301\u0301 \u0301A \u0301a A\u0301B a\u0301b \u0301", " \u0301x", "  \u0301", "ǅǆ ʰʰA ªB ªb Aª",
    "日本語ABC漢字abc", "1234567 ١٢٣٤ Ⅻ ½3", "://\n/a//\r\n/b", "!?\n\n  x", "a\n \n  b", "   ", "x   ", "x  \n  ",
    "\t\tx", "\r\n\r\n", "a\u00a0b\u2003\u2003c\u3000", "\u2028\u2028x\u0085y", "\x1c\x1d x", " \u00a0x", "\ta \n\tb",
    "  1", " 1 ", " -1", "'", "''", "'s", "'l", "'r", "'ll", "'lL'Re", "don't won'T x'd'm", "\ufffd\u200d👩‍👩‍👧‍👦🇩🇪",
    "\U0010ffff\U000e0001\ue000", "مرحبا بالعالم", "नमस्ते", "ไทยไทย", "a" * 600, "ab" * 700, "🎉" * 300, " " * 3000,
    "\n" * 1000, "é" * 40, "漢字仮名" * 200,
]  # fmt: skip


@cache
def tokens_and_reference(expression: str) -> tuple[BytePairEncoder, tiktoken.Encoding]:
    """Tekken's vocabulary under any expression."""
    path = resources.files("mistral_common") / "data" / "tekken_240911.json"
    vocab = json.loads(path.read_bytes())["vocab"][:130_072]
    tokens = [base64.b64decode(token["token_bytes"]) for token in vocab]
    ranks = {token: rank for rank, token in enumerate(tokens)}
    reference = tiktoken.Encoding("reference", pat_str=expression, mergeable_ranks=ranks, special_tokens={})
    return BytePairEncoder.from_ranks(tokens, expression, tiktoken_engine), reference


def encode(encoder: BytePairEncoder, texts: list[str]) -> list[list[int]]:
    return [tokens.tolist() for tokens in encoder.encode(join_texts(texts))]


@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_ids_are_tiktokens_where_alternatives_meet(expression: str) -> None:
    encoder, reference = tokens_and_reference(expression)
    texts = [*EDGES, *(a + b for a in EDGES for b in EDGES if len(a) + len(b) < 100)]
    for text, ids in zip(texts, encode(encoder, texts), strict=True):
        assert ids == reference.encode_ordinary(text), repr(text)


ALPHABET = st.sampled_from(" \n\r\t/'.-aAsStTlLrReEvV1\u0301\u0903ʰªǅ語ßſİẞ½٣\u00a0\u2028\u0085\0👍") | st.characters(
    exclude_categories=("Cs",)
)


@pytest.mark.parametrize("expression", EXPRESSIONS)
@given(text=st.text(ALPHABET, max_size=60))
@example(text="\ufeff")
@settings(max_examples=300, deadline=None)
def test_ids_are_tiktokens_on_any_text(expression: str, text: str) -> None:
    encoder, reference = tokens_and_reference(expression)
    [ids] = encode(encoder, [text])
    assert ids == reference.encode_ordinary(text)
    assert encoder.bytes_of(np.array(ids, np.int64)) == text.encode()


@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_pieces_end_where_the_engine_ends_them_around_every_code_point(expression: str) -> None:
    """Each character stands between neighbours of several kinds. Every pair of bytes is a token, and no three are:
    which bytes pair up tells where the pieces begin."""
    tokens = [bytes([b]) for b in range(256)] + [bytes([a, b]) for a in range(256) for b in range(256)]
    encoder = BytePairEncoder.from_ranks(tokens, expression, tiktoken_engine)
    ranks = {token: rank for rank, token in enumerate(tokens)}
    reference = tiktoken.Encoding("pairs", pat_str=expression, mergeable_ranks=ranks, special_tokens={})
    points = [*range(0xD800), *range(0xE000, 0x32000), *range(0xE0000, 0xE0200), 0x50000, 0xF0000, 0x10FFFD]
    text = "".join(f"a{chr(p)}A 1{chr(p)} \n {chr(p)}" for p in points)
    assert encode(encoder, [text]) == [reference.encode_ordinary(text)]


def test_scanning_and_the_heap_merge_alike() -> None:
    encoder, _ = tokens_and_reference(EXPRESSIONS[0])
    rng = np.random.default_rng(7)
    source = "the quick brown föx 日本語 ".encode() * 20
    for num_bytes in (2, 3, 15, 16, 17, 31, 64, 100, 300, 511, 512):
        at = int(rng.integers(0, len(source) - num_bytes)) if num_bytes < len(source) else 0
        piece = np.frombuffer(source[at : at + num_bytes] + bytes(64), np.uint8)
        num_bytes = min(num_bytes, len(source) - at)
        scanned, heaped = np.empty(num_bytes, np.uint32), encoder.byte_ids[piece[:num_bytes]].copy()
        scratch = np.empty((3, kernels.SCAN_BYTES), np.uint32)
        tables = (encoder.pairs, encoder.pair_bits, encoder.merged_ids)
        n = kernels.merge_piece(piece, 0, num_bytes, scanned, scratch, encoder.byte_ids, encoder.byte_ranks, *tables)
        m = kernels.merge_with_heap(heaped, num_bytes, *tables)
        assert scanned[:n].tolist() == heaped[:m].tolist()


def test_a_text_of_one_piece_of_megabytes_takes_time_in_proportion() -> None:
    encoder, _ = tokens_and_reference(EXPRESSIONS[0])
    texts = ["x" * 2_000_000, " " * 2_000_000, "語" * 700_000, "ab" * 1_000_000]
    for text, ids in zip(texts, encode(encoder, texts), strict=True):
        assert encoder.bytes_of(np.array(ids, np.int64)) == text.encode()


def test_long_pieces_are_tiktokens() -> None:
    encoder, reference = tokens_and_reference(EXPRESSIONS[0])
    rng = np.random.default_rng(3)
    letters = np.array(list("abcdefghijklmnopqrstuvwxyzäöü語字"))
    texts = ["".join(rng.choice(letters, size)) for size in (90, 100, 480, 511, 512, 513, 5_000, 20_000)]
    texts += ["ab" * 9_000, "=" * 10_000, "aaab" * 4_000]
    for text, ids in zip(texts, encode(encoder, texts), strict=True):
        assert ids == reference.encode_ordinary(text)


def test_what_was_met_before_changes_nothing() -> None:
    encoder, _ = tokens_and_reference(EXPRESSIONS[0])
    rng = np.random.default_rng(1)
    words = ["".join(rng.choice(list("abcdefghij"), 9)) for _ in range(100_000)]
    texts = [" ".join(words[i : i + 500]) for i in range(0, len(words), 500)]
    together = encode(encoder, texts)
    assert [encode(encoder, [text])[0] for text in reversed(texts)] == together[::-1]
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(lambda text: encode(encoder, [text])[0], texts * 3)) == together * 3


def test_a_vocabulary_without_every_byte_is_refused() -> None:
    with pytest.raises(ValueError, match="no token for some bytes"):
        BytePairEncoder.from_ranks([b"a", b"b"], EXPRESSIONS[0], tiktoken_engine)
