"""`curatord curate`: what comes out, what comes next, and what goes wrong."""

from __future__ import annotations

import gzip
import json
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import tokenizers

from consumers.files.broker import FilesBroker
from curation.acquisition import url_lists
from curatord.errors import StorageError
from daemon.commands.inspect_output import check_output
from daemon.loop import Loop
from daemon.signals import Interrupted
from tests.daemon.conftest import CONFIG, Curated, Run, text_of, write_documents


def rows_of(output: Path) -> list[dict[str, Any]]:
    return [row for path in sorted(output.glob("train-*.parquet")) for row in pq.read_table(path).to_pylist()]


def files_of(output: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(output.rglob("*.parquet"))}


def test_every_document_but_the_duplicates_comes_out_and_decodes_to_its_text(curated: Curated) -> None:
    from packing.tokenizer import TokenizerConfig, open_tokenizer

    tokenizer = open_tokenizer(TokenizerConfig())
    texts: dict[str, list[tuple[int, list[int]]]] = {}
    for row in rows_of(curated.output):
        start = 0
        for size, doc_id, offset in zip(row["seq_lengths"], row["doc_ids"], row["segment_offsets"], strict=True):
            texts.setdefault(doc_id, []).append((offset, row["input_ids"][start : start + size]))
            start += size

    decoded = {doc_id: tokenizer.decode([t for _, p in sorted(pieces) for t in p]) for doc_id, pieces in texts.items()}

    assert set(decoded) == {f"doc-{n}" for n in range(300)} | {"long"}
    assert all(decoded[f"doc-{n}"] == text_of(n) for n in range(300))
    assert check_output(curated.output).problems == []


def test_a_text_of_which_the_tokenizer_makes_nothing_is_rejected(run: Run, tmp_path: Path) -> None:
    words = {"[UNK]": 0, "[SEP]": 1, "the": 2}
    tokenizer = tokenizers.Tokenizer(tokenizers.models.WordPiece(words, unk_token="[UNK]"))
    tokenizer.normalizer = tokenizers.normalizers.BertNormalizer()  # drops controls and U+FFFD
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.BertPreTokenizer()
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    config = tmp_path / "c.toml"
    config.write_text(f'{CONFIG}\n[tokenizer]\nname = "{tmp_path / "tokenizer.json"}"\neos = false\n')
    documents = write_documents(tmp_path / "a.jsonl", range(100))
    with documents.open("a") as file:
        file.write(json.dumps({"id": "nothing", "text": "\ufffd\u0001"}) + "\n")
    output = tmp_path / "output"

    result = run("curate", documents, "-o", output, "-c", config, "--json")

    assert result.exit_code == 0, result.output
    ledger = json.loads(result.stdout)["ledger"]
    assert ledger["rows"]["accepted"] == 100
    assert 0 < ledger["bytes_measured"] <= ledger["bytes_read"]
    assert all(0 <= num_bytes <= ledger["bytes_measured"] for num_bytes in ledger["would_drop_bytes"].values())
    assert "REJECTED, no_tokens" in run("explain", "nothing", "-o", output).output
    assert check_output(output).problems == []


def test_the_same_input_again_adds_nothing(curated: Curated, run: Run) -> None:
    before = files_of(curated.output)

    result = run("curate", curated.folder / "documents.jsonl", "-o", curated.output, "-c", curated.config, "--json")

    assert result.exit_code == 0
    assert json.loads(result.stdout)["rows_this_run"] == 0
    assert files_of(curated.output) == before


def test_the_same_documents_under_another_name_are_recognised_by_their_ids(
    curated: Curated, run: Run, tmp_path: Path
) -> None:
    again = write_documents(tmp_path / "again.jsonl", range(50))
    before = files_of(curated.output)

    result = run("curate", again, "-o", curated.output, "-c", curated.config, "--json")

    assert json.loads(result.stdout)["ledger"]["rows"]["redelivered"] == 50
    assert files_of(curated.output) == before


def test_two_runs_with_keep_open_equal_one(run: Run, tmp_path: Path) -> None:
    config = tmp_path / "c.toml"
    config.write_text(CONFIG)
    first = write_documents(tmp_path / "a.jsonl", range(150))
    second = write_documents(tmp_path / "b.jsonl", range(150, 260))
    together, apart = tmp_path / "together", tmp_path / "apart"

    assert run("curate", first, second, "-o", together, "-c", config).exit_code == 0
    assert run("curate", first, "-o", apart, "-c", config, "--keep-open").exit_code == 0
    assert run("curate", second, "-o", apart, "-c", config).exit_code == 0

    assert files_of(apart) == files_of(together)
    assert files_of(together)


def test_how_many_bytes_are_read_at_once_leaves_no_trace(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tmp_path / "c.toml"
    config.write_text(CONFIG)
    documents = write_documents(tmp_path / "a.jsonl", range(150))
    outputs = []
    for name, max_bytes in (("much", 64 << 20), ("little", 5000)):
        monkeypatch.setattr("consumers.files.broker.MAX_POLL_BYTES", max_bytes)
        assert run("curate", documents, "-o", tmp_path / name, "-c", config).exit_code == 0
        outputs.append(files_of(tmp_path / name))
    assert outputs[0] == outputs[1]
    assert outputs[0]


def test_more_documents_go_on_with_the_same_state(curated: Curated, run: Run, tmp_path: Path) -> None:
    more = write_documents(tmp_path / "more.jsonl", range(290, 330))

    result = run("curate", more, "-o", curated.output, "-c", curated.config, "--json")

    ledger = json.loads(result.stdout)["ledger"]
    assert ledger["rows"]["redelivered"] == 10
    assert [row["seq_no"] for row in rows_of(curated.output)] == list(range(ledger["sequences"]))
    assert check_output(curated.output).problems == []


def test_compressed_files_folders_globs_and_parquet_are_read(curated: Curated, run: Run, tmp_path: Path) -> None:
    import pyarrow as pa

    folder = tmp_path / "in" / "deep"
    folder.mkdir(parents=True)
    (folder / "a.jsonl.gz").write_bytes(gzip.compress(json.dumps({"text": text_of(1001)}).encode()))
    (folder / "b.txt").write_text(text_of(1002))
    pq.write_table(pa.table({"text": [text_of(1003)], "id": ["in-parquet"]}), folder / "c.parquet")

    result = run("curate", tmp_path / "in", "-o", curated.output, "-c", curated.config, "--json")

    assert json.loads(result.stdout)["ledger"]["rows"]["accepted"] == 304
    ids = {doc_id for row in rows_of(curated.output) for doc_id in row["doc_ids"]}
    assert {"in-parquet", f"{folder}/a.jsonl.gz:0"} <= ids


def test_a_new_text_under_a_known_id_replaces_the_old_one(curated: Curated, run: Run, tmp_path: Path) -> None:
    (tmp_path / "new.jsonl").write_text(json.dumps({"id": "doc-7", "text": text_of(2007)}) + "\n")

    run("curate", tmp_path / "new.jsonl", "-o", curated.output, "-c", curated.config)

    story = run("explain", "doc-7", "-o", curated.output).output
    assert "taken back  by a newer version" in story
    assert story.count("emitted") == 2


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["no-such-file.jsonl"], ["no-such-file.jsonl"]),
        (["nothing-*.jsonl"], ["nothing-*.jsonl"]),
        (["a.jsonl", "b.jsonl"], ["a.jsonl", "b.jsonl"]),
    ],
)
def test_inputs_that_are_not_there_are_named_all_at_once(
    run: Run, tmp_path: Path, arguments: list[str], words: list[str]
) -> None:
    result = run("curate", *[tmp_path / argument for argument in arguments], "-o", tmp_path / "out")

    assert result.exit_code == 2
    assert all(word in result.output for word in words)


def test_a_parquet_that_cannot_be_read_is_one_message_and_nothing_is_started(run: Run, tmp_path: Path) -> None:
    (tmp_path / "bad.parquet").write_bytes(b"PAR1 this is not one")

    result = run("curate", tmp_path / "bad.parquet", "-o", tmp_path / "out")

    assert result.exit_code == 2
    assert "bad.parquet" in result.output


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ("[tokenizer]\neos = false\n", "tokenizer"),
        ("[dedup.near]\nshingle_words = 6\n", "dedup.near.shingle_words"),
        ("[embedding]\nstudent_tokens = 256\n", "embedding.student_tokens"),
    ],
)
def test_an_option_that_gives_the_state_its_meaning_is_refused_with_both_values(
    curated: Curated, run: Run, tmp_path: Path, changed: str, named: str
) -> None:
    config = tmp_path / "changed.toml"
    config.write_text(changed)

    result = run("curate", curated.folder / "documents.jsonl", "-o", curated.output, "-c", config)

    assert result.exit_code == 65
    assert named in result.output
    assert "it was made with" in result.output
    assert "--output" in result.output


def test_a_state_made_with_other_words_is_refused(curated: Curated, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    from kernels import words

    made_with = words.DEFINITION
    monkeypatch.setattr(words, "DEFINITION", "another")
    result = run("curate", curated.folder / "documents.jsonl", "-o", curated.output, "-c", curated.config)
    assert result.exit_code == 65
    assert f"words: it was made with {made_with}, now it is another" in result.output


def test_a_second_writer_is_refused(curated: Curated, run: Run) -> None:
    from state.store import Store, state_folder

    store = Store(state_folder(curated.output))
    try:
        result = run("curate", curated.folder / "documents.jsonl", "-o", curated.output, "-c", curated.config)
    finally:
        store.close()

    assert result.exit_code == 1
    assert "another curatord is writing" in result.output


def command(*arguments: object) -> list[str]:
    return [sys.executable, "-m", "curatord", *map(str, arguments)]


def test_a_full_disk_ends_with_one_message_and_the_next_run_goes_on(curated: Curated, tmp_path: Path) -> None:
    more = write_documents(tmp_path / "more.jsonl", range(3000, 9000))
    arguments = command("curate", more, "-o", curated.output, "-c", curated.config, "--json")
    process = subprocess.Popen(
        arguments,
        preexec_fn=lambda: signal.signal(signal.SIGXFSZ, signal.SIG_IGN),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    shards = len(list(curated.output.glob("train-*.parquet")))
    while process.poll() is None and len(list(curated.output.glob("train-*.parquet"))) == shards:
        time.sleep(0.01)

    # No file may grow beyond this any more: what a full disk looks like to a writer.
    resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (10_000, 10_000))
    _, errors = process.communicate()

    assert process.returncode == 1, errors
    assert "committed is safe" in errors
    assert "Traceback" not in errors

    again = subprocess.run(arguments, capture_output=True, text=True)

    assert again.returncode == 0, again.stderr
    assert json.loads(again.stdout)["ledger"]["rows"]["accepted"] > 3000
    assert check_output(curated.output).problems == []


def test_ctrl_c_commits_says_how_to_go_on_and_going_on_gives_the_same_bytes(tmp_path: Path) -> None:
    config = tmp_path / "c.toml"
    config.write_text(CONFIG + "\n[daemon]\nepoch_documents = 50\npoll_documents = 10\n")
    documents = write_documents(tmp_path / "in.jsonl", range(4000))
    interrupted, whole = tmp_path / "interrupted", tmp_path / "whole"
    arguments = command("curate", documents, "-o", interrupted, "-c", config)
    process = subprocess.Popen(arguments, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    while process.poll() is None and not list(interrupted.glob("train-*.parquet")):
        time.sleep(0.02)

    process.send_signal(signal.SIGINT)
    _, errors = process.communicate()

    assert process.returncode == 130, errors
    assert "run the same command again" in errors
    assert "Traceback" not in errors
    assert subprocess.run(arguments, stdout=subprocess.DEVNULL).returncode == 0
    assert (
        subprocess.run(command("curate", documents, "-o", whole, "-c", config), stdout=subprocess.DEVNULL).returncode
        == 0
    )
    assert files_of(interrupted) == files_of(whole)


def test_retracting_without_the_configuration_begins_no_generation(curated: Curated, run: Run, tmp_path: Path) -> None:
    assert run("retract", "doc-3", "-o", curated.output).exit_code == 0
    more = write_documents(tmp_path / "more.jsonl", range(1000, 1100))
    assert run("curate", more, "-o", curated.output, "-c", curated.config).exit_code == 0

    assert {row["seq_no"] for row in rows_of(curated.output)} == set(range(len(rows_of(curated.output))))
    assert check_output(curated.output).problems == []


def test_retracting_names_the_sequences_that_a_document_is_in(curated: Curated, run: Run) -> None:
    result = run("retract", "doc-3", "never-seen", "-o", curated.output, "-c", curated.config)

    assert result.exit_code == 0
    assert "doc-3: taken back, but it had been emitted already, in sequence(s)" in result.output
    assert "never-seen: never read" in result.output
    assert "taken back  by a retraction" in run("explain", "doc-3", "-o", curated.output).output


def test_standard_input_is_read(curated: Curated) -> None:
    line = json.dumps({"id": "piped", "text": text_of(4001)}).encode()

    result = subprocess.run(
        command("curate", "-", "-o", curated.output, "-c", curated.config, "--json"), input=line, capture_output=True
    )

    assert result.returncode == 0, result.stderr
    assert json.loads(result.stdout)["rows_this_run"] == 1


def test_a_commit_that_fails_while_long_work_is_interrupted_is_told(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def commit(broker: FilesBroker, epoch: object) -> None:
        time.sleep(0.2)  # until the interruption
        raise StorageError("the disk is full")

    def interrupted(loop: Loop) -> int:
        loop.touch()  # an epoch that is being committed
        raise Interrupted

    monkeypatch.setattr(FilesBroker, "commit", commit)
    monkeypatch.setattr(Loop, "step", interrupted)
    config = tmp_path / "c.toml"
    config.write_text(CONFIG.replace("[packing]", '[packing]\nmode = "best_fit"'))

    result = run("curate", write_documents(tmp_path / "a.jsonl", range(5)), "-o", tmp_path / "out", "-c", config)

    assert result.exit_code == StorageError.exit_code
    assert "the disk is full" in result.output


def test_an_output_that_cannot_be_written_is_one_message(run: Run, tmp_path: Path) -> None:
    documents = write_documents(tmp_path / "in.jsonl", range(2))
    (tmp_path / "file").write_text("")

    result = run("curate", documents, "-o", tmp_path / "file" / "out")

    assert result.exit_code == 1
    assert os.fspath(tmp_path / "file") in result.output


def test_documents_of_blocked_addresses_are_dropped_and_other_lists_are_told(run: Run, tmp_path: Path) -> None:
    config, block = tmp_path / "c.toml", tmp_path / "block.txt"
    block.write_text("bad.example\n")
    config.write_text(CONFIG + f'\n[urls]\nblock = ["{block}"]\n')
    lines = [
        json.dumps({"id": str(at), "text": text_of(at // 2), "url": url})
        for at, url in enumerate(["http://www.bad.example/a", "http://good.example/a", "", "http://good.example/b"])
    ]
    (tmp_path / "a.jsonl").write_text("\n".join(lines))
    done = run("curate", tmp_path / "a.jsonl", "-o", tmp_path / "out", "-c", config)
    assert done.exit_code == 0, done.output
    assert "blocked addresses" in done.output
    # The text from elsewhere is no duplicate of the one that is not wanted.
    explained = [run("explain", str(at), "-o", tmp_path / "out", "-c", config).output for at in range(4)]
    assert ["blocked_url" in text for text in explained] == [True, False, False, False]
    assert ["same_text" in text for text in explained] == [False, False, False, True]

    (tmp_path / "b.jsonl").write_text(json.dumps({"text": text_of(7), "url": "http://worse.example/"}))
    block.write_text("bad.example\nworse.example\n")
    url_lists._opened.cache_clear()  # as a process that begins
    again = run("curate", tmp_path / "b.jsonl", "-o", tmp_path / "out", "-c", config)
    assert "urls (digest)" in again.output
    assert "blocked_url" in again.output
