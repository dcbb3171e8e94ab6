"""Models of a configuration: prepared rows and crashes change nothing, and another model is another identity."""

from __future__ import annotations

import json
import random
from pathlib import Path

import msgspec
import pytest

from consumers.memory import CrashPoint
from curation.quality.fit import Labelled, fit_head
from curatord.errors import ConfigError
from daemon.config import Config, parse_config, show_config
from daemon.models import open_models, open_reference
from daemon.prepared.identity import prepared_identity
from tests.daemon.prepared.parts import facts, messages, preparer
from tests.simulation.world import WORDS, make_config, make_rows, new_world, outcome, run, tokenizer


def write_texts(path: Path, words: list[str], number: int, seed: int) -> str:
    rng = random.Random(seed)
    path.write_text("".join(json.dumps({"text": " ".join(rng.choices(words, k=40))}) + "\n" for _ in range(number)))
    return str(path)


@pytest.fixture(scope="module")
def aiming(tmp_path_factory: pytest.TempPathFactory) -> Config:
    """A target that keeps seven tenths, and a head with a band, both as rewards."""
    folder = tmp_path_factory.mktemp("models")
    wanted = [f"{word}{topic}" for topic in range(3) for word in WORDS[:400]]
    against = [f"{word}{topic}" for topic in range(8) for word in WORDS[:400]]
    documents = [
        Labelled(text=" ".join(random.Random(seed).choices(words, k=40)), is_good=words is wanted, source="")
        for words in (wanted, against)
        for seed in range(50)
    ]
    head = fit_head(documents, "web")
    (folder / "web.head").write_bytes(msgspec.msgpack.encode(head))
    return make_config(
        target={
            "files": [write_texts(folder / "wanted.jsonl", wanted, 60, 1)],
            "against": [write_texts(folder / "against.jsonl", against, 300, 2)],
            "keep_ratio": 0.7,
        },
        quality={"heads": {"web": {"file": str(folder / "web.head"), "min": 0.1}}},
        bandit={"enabled": True, "reward": ["target", "web", "rules"]},
        output={"holdout": 0.1},
        daemon={"poll_documents": 100, "epoch_documents": 200, "epoch_s": 3600.0},
    )


def test_prepared_rows_and_crashes_leave_no_trace(aiming: Config, tmp_path: Path) -> None:
    one = preparer(aiming)
    rows = [msgspec.structs.replace(row, source="new") for row in make_rows(7, 1100)]
    crashes = {2: CrashPoint.BEFORE_COMMIT, 4: CrashPoint.AFTER_COMMIT}
    worlds = []
    for name, documents in (("straight", rows), ("prepared", messages(rows, one, (256, 9), 1)), ("crashed", rows)):
        world = new_world(0, 0, tmp_path / name)
        world.documents = [*world.documents, *documents]
        run(world, aiming, tmp_path / name, crashes=crashes if name == "crashed" else {})
        worlds.append(world)
    straight, prepared, crashed = worlds
    assert outcome(prepared) == outcome(straight) == outcome(crashed)
    for family in ("target", "bandit", "strata", "clusters"):
        learned = [{key: value for key, value in facts(world).items() if key[0] == family} for world in worlds]
        assert learned[0]
        assert learned[0] == learned[1] == learned[2]


@pytest.fixture(scope="module")
def similar(aiming: Config) -> Config:
    """The same target by vectors, for the gate, the bandit and weights."""
    target = msgspec.structs.replace(aiming.target, by="similarity", keep_ratio=0.8)
    quality = msgspec.structs.replace(aiming.quality, heads={})
    bandit = msgspec.structs.replace(aiming.bandit, reward=("target", "rules"))
    weights = msgspec.structs.replace(aiming.weights, by=("target",))
    return msgspec.structs.replace(aiming, target=target, quality=quality, bandit=bandit, weights=weights)


def test_a_target_by_vectors_is_the_same_prepared_and_after_crashes(similar: Config, tmp_path: Path) -> None:
    rows = [msgspec.structs.replace(row, source="new") for row in make_rows(7, 1100)]
    crashes = {2: CrashPoint.BEFORE_COMMIT, 4: CrashPoint.AFTER_COMMIT}
    one, worlds = preparer(similar), []
    for name, documents in (("straight", rows), ("prepared", messages(rows, one, (256, 9), 1)), ("crashed", rows)):
        world = new_world(0, 0, tmp_path / name)
        world.documents = [*world.documents, *documents]
        run(world, similar, tmp_path / name, crashes=crashes if name == "crashed" else {})
        worlds.append(world)
    assert outcome(worlds[0]) == outcome(worlds[1]) == outcome(worlds[2])
    learned = [{key: value for key, value in facts(world).items() if key[0] == "target"} for world in worlds]
    assert {key[1][:1] for key in learned[0]} >= {b"d", b"l", b"t", b"s"}
    assert learned[0] == learned[1] == learned[2]


def test_a_target_by_vectors_makes_vectors_where_nothing_else_reads_them(similar: Config, tmp_path: Path) -> None:
    off = make_config()
    config = msgspec.structs.replace(similar, bandit=off.bandit, weights=off.weights)
    config = msgspec.structs.replace(config, packing=msgspec.structs.replace(config.packing, mode="best_fit"))
    assert config.makes_vectors
    assert not msgspec.structs.replace(config, target=off.target).makes_vectors
    world = new_world(0, 0, tmp_path)
    world.documents += [msgspec.structs.replace(row, source="new") for row in make_rows(7, 1100)]
    run(world, config, tmp_path)
    assert b"l" in {key[1][:1] for key in facts(world) if key[0] == "target"}


def test_a_worker_needs_no_files_of_a_target_by_vectors(similar: Config) -> None:
    elsewhere = msgspec.structs.replace(similar.target, files=("/no/such.jsonl",), against=("/no/other.jsonl",))
    config = msgspec.structs.replace(similar, target=elsewhere)
    assert prepared_identity(config, tokenizer()) == prepared_identity(
        make_config(output={"holdout": 0.1}), tokenizer()
    )
    with pytest.raises(ConfigError, match=r"target\.files"):
        open_reference(config, tokenizer())


def test_too_few_documents_of_a_target_by_vectors_are_refused(similar: Config, tmp_path: Path) -> None:
    few = write_texts(tmp_path / "few.jsonl", WORDS, 3, 0)
    target = msgspec.structs.replace(similar.target, files=(few,))
    with pytest.raises(ConfigError, match="3 documents are wanted"):
        open_reference(msgspec.structs.replace(similar, target=target), tokenizer())


def test_a_worker_with_another_model_is_refused_by_its_identity(aiming: Config, tmp_path: Path) -> None:
    usual, same = prepared_identity(make_config(), tokenizer()), prepared_identity(aiming, tokenizer())
    other = write_texts(tmp_path / "other.jsonl", WORDS, 50, 5)
    config = msgspec.structs.replace(aiming, target=msgspec.structs.replace(aiming.target, files=(other,)))
    assert "model target" not in usual
    assert json.loads(same)["model target"] != json.loads(prepared_identity(config, tokenizer()))["model target"]
    assert json.loads(same)["model web"] == json.loads(prepared_identity(config, tokenizer()))["model web"]


def test_files_that_hold_nothing_or_too_little_are_refused(tmp_path: Path) -> None:
    few = write_texts(tmp_path / "few.jsonl", WORDS, 3, 0)
    (tmp_path / "none.jsonl").write_text("no json\n")
    for files, words in (
        ([few], "3 documents are wanted"),
        ([str(tmp_path / "none.jsonl")], "target.files: 1 row cannot be read"),
        ([str(tmp_path / "missing.jsonl")], "target.files"),
    ):
        with pytest.raises(ConfigError, match=words):
            open_models(make_config(target={"files": files, "against": [few]}))


def test_heads_are_shown_as_they_are_read(aiming: Config) -> None:
    import tomllib

    assert parse_config(tomllib.loads(show_config(aiming, comments=False)), "shown") == aiming
