"""fastokens gives the ids of the library that owns the vocabulary, or that library encodes."""

from __future__ import annotations

import os
import random
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from kernels.columns import Ragged
from packing import fast_encoder
from packing.encoders import PART_CHARACTERS, TiktokenEncoder, joined
from packing.fast_encoder import CL100K, EXPRESSIONS, LONG_S, FastEncoder, FastokensEncoder, NotEncodedAlikeError
from packing.probes import EDGES, SENTENCES, probes

# Every pair of bytes is a token, and no three are: the pairs tell where the pieces begin.
PAIRS = [bytes([b]) for b in range(256)] + [bytes([a, b]) for a in range(256) for b in range(256)]
SMALL = [bytes([b]) for b in range(256)] + [b"th", b"the", b" the", b"aa", b"aaaa", b"  "]


@cache
def of_pairs(expression: str) -> FastEncoder:
    encoder = encoder_of(PAIRS, expression)
    assert encoder.settle() == ""
    return encoder


def encoder_of(tokens: list[bytes], expression: str, load: Any = None, probes: Any = probes) -> FastEncoder:
    return FastEncoder(
        TiktokenEncoder.of(tokens, expression),
        again=lambda: TiktokenEncoder.of(tokens, expression),
        load=load or (lambda: FastokensEncoder.of_ranks(tokens, expression)),
        probes=probes,
        trap=LONG_S.get(expression, ""),
    )


def differing(encoder: FastEncoder, texts: Sequence[str]) -> list[str]:
    """Texts whose ids are not the reference's."""
    reference = encoder.reference
    return [
        text
        for text, ids, wanted in zip(texts, encoder.encode(texts), reference.encode(texts), strict=True)
        if not np.array_equal(ids, wanted)
    ]


@pytest.mark.parametrize("expression", [each for each in EXPRESSIONS if each != CL100K])
def test_pieces_end_where_tiktokens_engine_ends_them(expression: str) -> None:
    encoder = of_pairs(expression)
    edges = [*EDGES, "'ſ", "a'ſt", "I'S'ſ'Re", " " * 3000, "ab" * 700]
    assert differing(encoder, [*edges, *(a + b for a in edges for b in edges if len(a) + len(b) < 60)]) == []
    points = [*range(1, 0xD800, 7), *range(0xE000, 0x32000, 7), *range(0xE0000, 0xE0200), 0x50000, 0xF0000, 0x10FFFD]
    around = ["a{0}A 1{0} \n {0}'{0}t a'{0} B{0}b {0}{0}1\r\n{0}{0}  ".format(chr(point)) for point in points]
    assert differing(encoder, around) == []


ALPHABET = st.sampled_from(" \n\r\t'/.-aAsStTlLrReEvV1\u0301\u0903ʰªǅ語ßſİẞ½٣\u00a0\u2028\u0085\0👍") | st.characters(
    exclude_categories=("Cs",)
)


@pytest.mark.parametrize("expression", [each for each in EXPRESSIONS if each != CL100K])
@given(text=st.text(ALPHABET, max_size=60))
@example(text="don'ſt")
@settings(max_examples=200, deadline=None)
def test_ids_are_tiktokens_on_any_text(expression: str, text: str) -> None:
    assert differing(of_pairs(expression), [text]) == []


def test_a_text_of_megabytes_without_a_space_is_encoded_whole() -> None:
    encoder = of_pairs(next(iter(EXPRESSIONS)))
    for text in ("x" * 2_000_000, " " * 2_000_000, "語" * 700_000):
        tokens = encoder.encode([text])[0].tolist()
        assert b"".join(PAIRS[token] for token in tokens).decode() == text


def test_a_vocabulary_that_reaches_over_the_end_of_a_line_is_left_to_tiktoken() -> None:
    with pytest.raises(NotEncodedAlikeError, match="over the end of a line"):
        FastokensEncoder.of_ranks([*SMALL, b"\n  "], CL100K)
    encoder = encoder_of([*SMALL, b"\n\n"], CL100K)
    assert encoder.settle() == ""
    rng = random.Random(4)
    texts = ["".join(rng.choices(["\n", " ", "\t", "a", "\r", "\u2003", "the"], k=9)) for _ in range(5000)]
    assert differing(encoder, texts) == []


def test_the_reference_encodes_until_fastokens_pays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fast_encoder, "SWITCH_CHARACTERS", 1000)
    encoder = encoder_of(SMALL, next(iter(EXPRESSIONS)))
    libraries, ids = [], []
    for _ in range(3):
        ids.append(encoder.encode(["the " * 100, "aaaaaa"]).values_T.tolist())
        libraries.append(encoder.library.split()[0])
    assert libraries == ["tiktoken", "tiktoken", "fastokens"]
    assert ids[0] == ids[1] == ids[2]


def test_a_long_text_goes_through_fastokens_at_once() -> None:
    encoder = encoder_of(SMALL, next(iter(EXPRESSIONS)))
    encoder.encode(["a" * (PART_CHARACTERS + 1)])
    assert encoder.library.startswith("fastokens")


class Wrong:
    """Gives other ids where a text holds the word."""

    library = "wrong 1.0"

    def __init__(self, word: str) -> None:
        self.word = word
        self.right = TiktokenEncoder.of(SMALL, next(iter(EXPRESSIONS)))

    def encode(self, texts: Sequence[str]) -> Ragged[np.uint32]:
        ids = self.right.encode(texts)
        return joined([of + np.uint32(self.word in text) for text, of in zip(texts, ids, strict=True)])


def test_a_library_that_gives_other_ids_is_not_used() -> None:
    for text in (SENTENCES[0], SENTENCES[-1], EDGES[8], chr(0xE000 + 61 * 100)):
        encoder = encoder_of(SMALL, next(iter(EXPRESSIONS)), lambda text=text: Wrong(text))
        assert "wrong 1.0 gives other ids for " in encoder.settle()
        assert encoder.library.startswith("tiktoken")
        assert encoder.encode([text]).values_T.tolist() == encoder.reference.encode([text]).values_T.tolist()


def test_without_fastokens_the_reference_encodes_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "fastokens._native", None)
    encoder = encoder_of(SMALL, next(iter(EXPRESSIONS)))
    assert encoder.settle() == "fastokens is not installed"
    assert encoder.library.startswith("tiktoken")


def test_a_vocabulary_that_fastokens_refuses_is_left_to_its_library() -> None:
    gap = [*SMALL, b"", b"ab"]
    encoder = encoder_of(gap, next(iter(EXPRESSIONS)))
    assert encoder.settle().startswith("fastokens cannot encode it: ")
    assert encoder.encode(["ab"]).values_T.tolist() == [263]
    other = encoder_of(SMALL, r"\p{L}+|\P{L}+")
    assert other.settle() == "fastokens cannot encode it: it splits text by an expression that fastokens does not know"


class PanicException(BaseException):
    """As Rust's is named."""


@pytest.mark.parametrize("error", [ValueError("no"), PanicException("index out of bounds")], ids=type)
def test_a_text_on_which_fastokens_fails_is_encoded_by_the_reference(error: BaseException) -> None:
    class Failing(Wrong):
        def encode(self, texts: Sequence[str]) -> Ragged[np.uint32]:
            if self.word in "".join(texts):
                raise error
            return self.right.encode(texts)

    encoder = encoder_of(SMALL, next(iter(EXPRESSIONS)), lambda: Failing("hard to encode"))
    assert encoder.settle() == ""
    assert encoder.encode(["a text hard to encode"]).values_T.tolist()
    assert encoder.slow_because == f"it failed on a text: {error}"
    assert encoder.library.startswith("tiktoken")


def test_threads_that_come_to_the_switch_together_agree(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fast_encoder, "SWITCH_CHARACTERS", 20_000)
    texts = [f"the {n} aaaaa THE'S\n" * 20 for n in range(400)]
    alone = encoder_of(SMALL, next(iter(EXPRESSIONS))).reference.encode(texts)
    encoder = encoder_of(SMALL, next(iter(EXPRESSIONS)))
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(encoder.encode, [texts[at : at + 10] for at in range(0, 400, 10)]))
    assert np.concatenate([ids.values_T for ids in found]).tolist() == alone.values_T.tolist()
    assert encoder.library.startswith("fastokens")


def test_a_copy_of_the_process_encodes_as_well() -> None:
    encoder = of_pairs(next(iter(EXPRESSIONS)))
    wanted = encoder.encode(list(SENTENCES)).values_T.tolist()
    child = os.fork()
    if not child:
        os._exit(0 if encoder.encode(list(SENTENCES)).values_T.tolist() == wanted else 1)
    assert os.waitpid(child, 0)[1] == 0


def test_fastokens_starts_no_threads_of_its_own() -> None:
    of_pairs(next(iter(EXPRESSIONS))).encode(list(SENTENCES) * 100)
    names = []
    for task in os.listdir("/proc/self/task") if os.path.isdir("/proc/self/task") else []:
        with open(f"/proc/self/task/{task}/comm") as file:
            names.append(file.read())
    assert not [name for name in names if name.startswith("fastokens")]
