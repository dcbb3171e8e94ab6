"""Passages: what is found, what is masked, and that a restart and a retraction leave what they should."""

from __future__ import annotations

import itertools
import random
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curation.dedup.passages import (
    GRAM_WORDS,
    WINDOW,
    Passages,
    PassagesConfig,
    SeenPassages,
    bytes_of_words,
    fingerprint,
)
from kernels.columns import join_texts
from kernels.word_places import word_places
from state.epoch import Epoch
from tests.corpus import read_zst_jsonl
from tests.kept import Kept

BOILERPLATE = (
    "This page uses cookies to remember your settings. By continuing to browse you agree to our terms of use and our "
    "privacy policy, which were last updated in March. Subscribe to our newsletter to receive the latest articles, "
    "offers and events straight to your inbox, and follow us on all social networks for more. "
) * 3


def passages(committed: object | None = None, **options: object) -> Passages:
    config = PassagesConfig(enabled=True, **{"mask": True, "memory_mib": 1, **options})  # type: ignore[arg-type]
    return Passages(config, committed or Kept())  # type: ignore[arg-type]


def judge(stage: Passages, texts: list[str], first: int = 0, source: str = "web") -> SeenPassages:
    return stage.judge(np.arange(first, first + len(texts)), [source] * len(texts), fingerprint(join_texts(texts)))


def masked(text: str, seen: SeenPassages, row: int) -> str:
    """The bytes of a document that are without loss, in its order."""
    if row not in seen.words:
        return ""
    raw = text.encode()
    is_masked = np.zeros(len(raw), np.bool_)
    for first, end in bytes_of_words(join_texts([text]), 0, seen.words[row]).tolist():
        is_masked[first:end] = True
    return bytes(byte for byte, of in zip(raw, is_masked, strict=True) if of).decode()


def drawn(seed: int, count: int) -> str:
    rng = random.Random(seed)
    return " ".join(f"{rng.choice('abcdefghij')}{rng.randrange(10_000)}" for _ in range(count))


@pytest.fixture(scope="module")
def pages(corpora: Path) -> list[str]:
    """Forty real documents of 2,000 to 6,000 characters, none of which quotes another."""
    found = []
    for path in sorted((corpora / "web").glob("*.zst")):
        documents = itertools.islice(read_zst_jsonl(path), 400)
        found += [document["text"] for document in documents if 2000 < len(document["text"]) < 6000]
    random.Random(1).shuffle(found)
    texts = found[:200]
    shares_B = judge(passages(), texts).shares_B
    return [text for text, share in zip(texts, shares_B.tolist(), strict=True) if share == 0][:40]


def test_partial_copies_of_real_pages_are_found_and_the_first_stays_whole(pages: list[str]) -> None:
    pairs = list(zip(pages[::2], pages[1::2], strict=True))
    half = [(a, a[: len(a) // 2], a[: len(a) // 2] + " | " + b[len(b) // 2 :]) for a, b in pairs]
    inside = [(a, a, b[:3000] + "\n" + a + "\n" + b[-3000:]) for a, b in pairs]
    boiler = [(a + BOILERPLATE, BOILERPLATE, b + BOILERPLATE) for a, b in pairs]
    for case in (half, inside, boiler):
        num_found = 0
        for first, copied, second in case:
            seen = judge(passages(), [first, second])
            assert seen.shares_B[0] == 0
            assert 0 not in seen.words
            hidden, words = masked(second, seen, 1), len(word_places(join_texts([copied]), 0))
            assert hidden in first
            num_found += len(word_places(join_texts([hidden]), 0)) >= words - 2 * (WINDOW - 1)
        assert num_found == len(case) == 20


@given(seed=st.integers(0, 10_000), before=st.integers(0, 90), after=st.integers(0, 90))
@settings(max_examples=100, deadline=None)
def test_every_run_of_81_words_is_found(seed: int, before: int, after: int) -> None:
    run = drawn(seed, GRAM_WORDS + WINDOW - 1)
    left, right = f"{drawn(seed + 1, after)} {run} {drawn(seed + 2, before)}", f"{drawn(seed + 3, before)} {run}"

    seen = judge(passages(), [left, right])

    hidden = masked(right, seen, 1)
    assert hidden
    assert hidden in run
    assert len(hidden.split()) >= GRAM_WORDS


def test_what_is_masked_is_the_passage_but_for_its_ends() -> None:
    quoted = drawn(1, 400)
    copy = f"{drawn(3, 200)} {quoted} {drawn(4, 200)}"
    seen = judge(passages(), [f"{drawn(2, 100)} {quoted}", copy])

    hidden = masked(copy, seen, 1)
    assert hidden in quoted
    assert len(hidden.split()) >= 400 - 2 * (WINDOW - 1)
    assert abs(seen.shares_B[1] - len(hidden.split()) / 800) < 1e-6


@pytest.mark.parametrize(
    "text",
    [
        "".join(chr(0x4E00 + (n * n * 31 + 7 * n) % 900) for n in range(300)),  # Chinese
        "".join(chr(0x0E01 + (n * n * 13 + 3 * n) % 46) for n in range(300)),  # Thai
        "".join(f"Größe{n * 7919 % 1000}é\u0301 ﬁ, " for n in range(120)),  # with marks that may melt
    ],
)
def test_texts_of_any_script_are_masked_where_they_repeat(text: str) -> None:
    head = "序" * 3 + "Another beginning, of its own. "
    seen = judge(passages(), [text, head + text])

    hidden = masked(head + text, seen, 1)
    assert seen.shares_B[1] > 0.6
    assert hidden in text
    assert len(hidden) > 0.6 * len(text)


def test_documents_above_the_share_are_dropped_and_bring_nothing() -> None:
    stage = passages(max_share=0.5, exempt_sources=("laws",))
    a, b, c = drawn(1, 300), drawn(2, 100), drawn(3, 300)
    judge(stage, [a])

    seen = judge(stage, [f"{a} {b}", f"{c} {a}", b], 1)

    assert seen.rejected_B.tolist() == [True, False, False]
    assert list(seen.words) == [1]
    assert seen.shares_B[2] == 0  # the first was dropped with it
    laws = judge(stage, [a, c], 4, "laws")
    assert not laws.rejected_B.any()
    assert not laws.words
    assert (laws.shares_B > 0.8).all()


def test_a_passage_that_a_document_repeats_itself_is_its_own() -> None:
    seen = judge(passages(), [f"{drawn(1, 200)} {drawn(2, 10)} {drawn(1, 200)}"])
    assert seen.shares_B[0] == 0


@given(st.data())
@settings(max_examples=40, deadline=None)
def test_a_restart_and_any_cut_into_batches_change_nothing(data: st.DataObject) -> None:
    pool = [drawn(seed, 150) for seed in range(6)]
    texts = [
        " ".join(pool[data.draw(st.integers(0, 5))] for _ in range(data.draw(st.integers(1, 2)))) for _ in range(12)
    ]
    whole = passages(mask=False, max_share=0.9)
    expected = judge(whole, texts)

    stage, kept, at = passages(mask=False, max_share=0.9), Kept(), 0
    shares: list[float] = []
    while at < len(texts):
        size = data.draw(st.integers(1, 5))
        shares += judge(stage, texts[at : at + size], at).shares_B.tolist()
        at += size
        if data.draw(st.booleans()):
            kept.commit(stage)
            stage = passages(kept, mask=False, max_share=0.9)
            kept.restore(stage)

    assert shares == expected.shares_B.tolist()
    assert (stage._filters_2W == whole._filters_2W).all()
    assert (stage._counts_2 == whole._counts_2).all()


@pytest.mark.parametrize("restart", [False, True])
def test_the_passage_of_a_retracted_document_is_new_again_once(restart: bool) -> None:
    kept = Kept()
    stage = passages(kept)
    a, b = drawn(1, 200), drawn(2, 200)
    judge(stage, [a, f"{a} {b}", b])
    kept.commit(stage)
    epoch = Epoch(number=2, identity="{}")

    stage.withdraw(1, epoch)  # it brought b, and no more: a is the first's
    if restart:
        kept.commit(stage, epoch=epoch)
        stage = passages(kept)
        kept.restore(stage)
    seen = judge(stage, [a, b, b], 3)

    assert seen.shares_B[0] > 0.6
    assert seen.shares_B[1] == 0
    assert seen.shares_B[2] > 0.6
    kept.commit(stage)
    again = passages(kept)
    kept.restore(again)
    assert judge(again, [b], 6).shares_B[0] > 0.6


def test_a_document_of_the_open_epoch_can_be_taken_back() -> None:
    stage = passages()
    a = drawn(1, 200)
    judge(stage, [drawn(5, 90), a])
    stage.withdraw(1, Epoch(number=1, identity="{}"))
    stage.withdraw(7, Epoch(number=1, identity="{}"))  # of which nothing is known
    assert judge(stage, [a, a], 2).shares_B.round().tolist() == [0, 1]


def test_rows_of_what_no_filter_has_leave_the_store() -> None:
    kept, stage = Kept(), passages()
    stage._filters_2W = np.zeros((2, 64), np.uint64)  # of 128 fingerprints
    stage._counts_2[:] = 0
    most = 0
    for at in range(60):
        judge(stage, [drawn(100 + at, 500)], at)
        if at == 3:
            stage.withdraw(1, Epoch(number=1, identity="{}"))
        kept.commit(stage)
        most = max(most, len(kept.families["passages"]))
    assert most < 60
    assert len(kept.families["passages"]) <= 2 * 128 // 25 + 3  # and no lifted one


def test_another_size_of_memory_forgets() -> None:
    kept, stage = Kept(), passages()
    judge(stage, [drawn(1, 200)])
    kept.commit(stage)

    larger = passages(kept, memory_mib=2)
    kept.restore(larger)
    assert judge(larger, [drawn(1, 200)], 1).shares_B[0] == 0
    kept.commit(larger)
    again = passages(kept, memory_mib=2)
    kept.restore(again)
    assert judge(again, [drawn(1, 200)], 2).shares_B[0] > 0.6


def test_off_is_nothing() -> None:
    stage = Passages(PassagesConfig(), Kept())
    assert stage.tables() == ()
    assert stage.measured_names == ()
    stage.withdraw(0, Epoch(number=1, identity="{}"))
    with pytest.raises(ValueError, match="enabled"):
        PassagesConfig(mask=True)
