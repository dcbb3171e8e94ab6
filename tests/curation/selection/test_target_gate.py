"""The gate: a share of the tokens to the percent, the likest first, and no source below its floor."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec
import numpy as np
import pytest

from curation.selection import target_gate
from curation.selection.target import TargetConfig, fit_target
from curation.selection.target_facts import THRESHOLDS, gumbel, keys_of
from curation.selection.target_gate import TargetGate
from curation.ticks import Accepted
from state.epoch import Epoch
from tests.kept import Kept

SHARES = {"law": 0.3, "web": 0.5, "logs": 0.2}
MEANS = {"law": 1.0, "web": 0.0, "logs": -2.0}
TARGET = fit_target([f"word{i}" for i in range(20)], [f"other{i}" for i in range(200)])
SCALE = TARGET.mean, TARGET.deviation
CONFIG = TargetConfig(files=("a",), against=("b",), keep_ratio=0.6)


def stream(num_ticks: int, *, drift: float = 0.0, size: int = 400) -> Iterator[tuple[Accepted, np.ndarray]]:
    """Ticks of three sources whose worths, in deviations of the sample, are their own; and the worths."""
    for tick in range(num_ticks):
        rng = np.random.default_rng(tick)
        sources = rng.choice(list(SHARES), size, p=list(SHARES.values())).tolist()
        deviations = np.array([MEANS[source] for source in sources]) + rng.normal(0, 1, size) + drift * tick
        likeness = TARGET.mean + TARGET.deviation * deviations
        ordinals = tick * 512 + np.arange(size)
        yield (
            Accepted(
                ordinals_B=ordinals,
                doc_nos_B=ordinals,
                keys_B=rng.integers(0, 2**63, size).astype(np.uint64),
                sources=tuple(sources),
                languages=("en",) * size,
                qualities_B=np.ones(size, np.float32),
                scores_BM=np.zeros((size, 0), np.float32),
                num_tokens_B=rng.integers(20, 2_000, size),
            ),
            likeness.astype(np.float32),
        )


def shares(config: TargetConfig, **options: float) -> dict[str, float]:
    gate, epoch = TargetGate(config, SCALE), Epoch(number=1, identity="{}")
    arrived, kept = dict.fromkeys((*SHARES, ""), 0.0), dict.fromkeys((*SHARES, ""), 0.0)
    for documents, worths_B in stream(60, **options):  # type: ignore[arg-type]
        kept_B, _ = gate.keep(documents, worths_B, epoch)
        for source, tokens, is_kept in zip(documents.sources, documents.num_tokens_B.tolist(), kept_B, strict=True):
            for name in (source, ""):
                arrived[name] += tokens
                kept[name] += tokens * is_kept
    return {name: kept[name] / arrived[name] for name in arrived}


@pytest.mark.parametrize("drift", [0.0, 0.02])
@pytest.mark.parametrize(("keep_ratio", "floor"), [(0.6, 0.5), (0.8, 0.5), (0.5, 0.5), (0.4, 0.2), (0.3, 0.0)])
def test_the_share_is_kept_and_no_source_falls_below_its_floor(keep_ratio: float, floor: float, drift: float) -> None:
    found = shares(msgspec.structs.replace(CONFIG, keep_ratio=keep_ratio, source_floor=floor), drift=drift)
    assert found[""] == pytest.approx(keep_ratio, abs=0.01)
    assert found["logs"] >= floor - 0.005
    if keep_ratio > floor:
        assert found["law"] > found["web"] > found["logs"]


def test_small_ticks_keep_the_share_too() -> None:
    assert shares(CONFIG, size=7)[""] == pytest.approx(0.6, abs=0.02)


def test_the_chance_that_is_told_is_that_of_being_kept() -> None:
    gate, epoch, told, kept = TargetGate(CONFIG, SCALE), Epoch(number=1, identity="{}"), list[float](), list[bool]()
    for documents, worths_B in stream(60):
        kept_B, chances_B = gate.keep(documents, worths_B, epoch)
        told += chances_B.tolist()
        kept += kept_B.tolist()
    order = np.argsort(told)
    for part in np.array_split(order, 8):
        assert np.mean(np.array(kept)[part]) == pytest.approx(np.mean(np.array(told)[part]), abs=0.03)


def test_the_thresholds_of_a_tick_tell_what_was_kept() -> None:
    gate, epoch = TargetGate(CONFIG, SCALE, seed=3), Epoch(number=1, identity="{}")
    decisions = [(documents, worths_B, gate.keep(documents, worths_B, epoch)[0]) for documents, worths_B in stream(5)]
    facts = Kept()
    facts.commit(gate, epoch=epoch)
    for tick, (documents, worths_B, kept_B) in enumerate(decisions):
        thresholds = THRESHOLDS.get(facts, tick)
        assert thresholds is not None
        keys_B = keys_of(worths_B, *SCALE) + gumbel(documents.keys_B, 3)
        assert (keys_B >= [thresholds.of(source) for source in documents.sources]).tolist() == kept_B.tolist()


def test_a_restart_anywhere_changes_nothing() -> None:
    straight, epoch = TargetGate(CONFIG, SCALE), Epoch(number=1, identity="{}")
    expected = [straight.keep(*tick, epoch)[0].tobytes() for tick in stream(12)]
    gate, facts, found = TargetGate(CONFIG, SCALE), Kept(), list[bytes]()
    for tick in stream(12):
        epoch = Epoch(number=1, identity="{}")
        found.append(gate.keep(*tick, epoch)[0].tobytes())
        facts.commit(gate, epoch=epoch)
        gate = TargetGate(CONFIG, SCALE)
        facts.restore(gate)
        assert facts.commit(gate) == []
    assert found == expected


def test_documents_without_words_go_first() -> None:
    (documents, worths_B), *_ = stream(1)
    worths_B[:50] = np.nan
    kept_B, _ = TargetGate(msgspec.structs.replace(CONFIG, source_floor=0.0), SCALE).keep(
        documents, worths_B, Epoch(number=1, identity="{}")
    )
    assert kept_B[:50].mean() < 0.1


def test_sources_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(target_gate, "MAX_SOURCES", 2)
    gate, epoch, facts = TargetGate(CONFIG, SCALE), Epoch(number=1, identity="{}"), Kept()
    for documents, worths_B in stream(3):
        gate.keep(documents, worths_B, epoch)
    facts.commit(gate, epoch=epoch)
    assert sum(key[:1] == b"s" for key in facts.families["target"]) == 2


def test_without_a_target_or_a_share_it_is_open_and_has_no_facts() -> None:
    assert TargetGate(TargetConfig()).is_open
    assert TargetGate(msgspec.structs.replace(CONFIG, keep_ratio=1.0), SCALE).is_open
