"""Examples: documents that were dropped with their texts, and clusters that are told apart."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from daemon.commands.samples import words_of
from daemon.stages.examples import EXAMPLES, read_examples
from state.store import Store, state_folder
from tests.daemon.conftest import CONFIG, Curated, Run, text_of, write_documents

# Gopher's rules as far as the documents here, which are no prose, pass them.
LENIENT = """
[quality]
preset = "gopher"
[quality.thresholds]
gopher_too_few_words = 5
gopher_too_few_stop_words = 0
gopher_too_few_words_with_letters = 0
"""


def again(curated: Curated, run: Run) -> dict[str, Any]:
    result = run("curate", curated.folder / "documents.jsonl", "-o", curated.output, "-c", curated.config, "--json")
    assert result.exit_code == 0, result.output
    found: dict[str, Any] = json.loads(result.stdout)
    return found


def test_no_two_clusters_show_one_document_and_words_tell_them_apart(curated: Curated, run: Run) -> None:
    clusters = again(curated, run)["clusters"]
    assert len(clusters) > 1
    central = [line["central_doc_id"] for line in clusters if line["central_doc_id"]]
    assert len(set(central)) == len(central) > 1
    words = [tuple(line["words"]) for line in clusters if line["words"]]
    assert len(set(words)) == len(words) > 1


def test_a_dropped_pair_is_shown_with_the_texts_around_their_first_difference(curated: Curated, run: Run) -> None:
    shown = again(curated, run)["near_duplicates"]
    assert [(pair["doc_id"], pair["match_id"]) for pair in shown] == [("near-copy", "doc-88")]
    assert shown[0]["text"] == text_of(88) + " more"
    assert text_of(88).startswith(shown[0]["match_text"])

    result = run("curate", curated.folder / "documents.jsonl", "-o", curated.output, "-c", curated.config)
    screen = result.output.splitlines()
    at = next(number for number, line in enumerate(screen) if "near-copy" in line)
    assert screen[at].endswith(" more")
    assert "doc-88" in screen[at + 1]
    assert max(map(len, screen[:at])) <= 100


def test_every_reason_is_listed_with_examples_that_a_retraction_takes_away(
    curated: Curated, run: Run, tmp_path: Path
) -> None:
    config = tmp_path / "c.toml"
    config.write_text(CONFIG + LENIENT)
    more = write_documents(tmp_path / "more.jsonl", range(1000, 1010))
    with more.open("a") as file:
        for number in range(20):
            file.write(json.dumps({"id": f"short-{number}", "text": f"a short text {number}"}) + "\n")
    assert run("curate", more, "-o", curated.output, "-c", config).exit_code == 0

    listed = json.loads(run("inspect", "dropped", "-o", curated.output, "--json").stdout)

    assert {f"{each['stage']} {each['reason']}": each["documents"] for each in listed} == {
        "exact_dedup same_text": 1,
        "near_dedup near_duplicate": 1,
        "quality gopher_too_few_words": 20,
    }
    short = next(each for each in listed if each["reason"] == "gopher_too_few_words")
    assert len(short["examples"]) == EXAMPLES
    assert all(example["text"].startswith("a short text") for example in short["examples"])
    text = run("inspect", "dropped", "-o", curated.output).output
    assert "quality gopher_too_few_words: 20 documents" in text
    assert "like doc-5" in text
    gone = short["examples"][0]["doc_id"]
    assert run("retract", gone, "-o", curated.output).exit_code == 0
    store = Store(state_folder(curated.output), read_only=True)
    kept = read_examples(store)["quality", "gopher_too_few_words"]
    store.close()
    assert gone not in {example.doc_id for example in kept}


def test_words_of_scripts_without_spaces_are_pairs_of_letters() -> None:
    assert list(words_of("The 12 Tokenizers, of_course!")) == ["the", "tokenizers", "course"]
    assert list(words_of("机器学习")) == ["机器", "器学", "学习"]
    assert list(words_of("x" * 50)) == []
