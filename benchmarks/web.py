"""The whole of a real corpus through `curate`, and everything that must hold of the result.

    python -m benchmarks.web [--sample N]

64,000 documents of the development corpora (statutes, abstracts, books, short pages), observed and not filtered, at two
context lengths, in file order and shuffled. Checked on the output alone: sequences dense, no document cut that fits,
every accepted document's tokens there exactly once, decoded text equal to what came in, padding within its bound.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path

import pyarrow.parquet as pq

from daemon.commands.inspect_output import check_output
from packing.tokenizer import TokenizerConfig, open_tokenizer
from state.ledger import read_ledger
from state.segments import read_segments
from state.store import Store, state_folder
from tests.corpus import CORPORA, read_zst_jsonl

# Largest share of padding, without the final flush.
BOUNDS = {(4096, False): 0.005, (4096, True): 0.001, (32768, False): 0.0008, (32768, True): 0.0002}


def texts_by_id(files: list[Path]) -> dict[str, str]:
    """Every document's text."""
    return {document["id"]: document["text"] for path in files for document in read_zst_jsonl(path)}


def shuffled_copy(files: list[Path], folder: Path) -> Path:
    """One file with all documents in an order that mixes the sources."""
    import hashlib

    lines = [json.dumps(document) for path in files for document in read_zst_jsonl(path)]
    lines.sort(key=lambda line: hashlib.blake2b(line.encode(), digest_size=8).digest())
    path = folder / "shuffled.jsonl"
    path.write_text("\n".join(lines) + "\n")
    return path


def curate(inputs: list[str], output: Path, context_length: int) -> tuple[dict[str, object], float]:
    """Run the command as a user would: its summary, and seconds."""
    config = output.with_suffix(".toml")
    config.write_text(f"[packing]\ncontext_length = {context_length}\n")
    command = [sys.executable, "-m", "curatord", "curate", *inputs, "-o", str(output), "-c", str(config), "--json"]
    began = time.monotonic()
    result = subprocess.run(command, stdout=subprocess.PIPE, check=True)
    return json.loads(result.stdout), time.monotonic() - began


def check_round_trip(output: Path, texts: dict[str, str]) -> int:
    """Decode every document from its segments and compare it with the input; the number of documents."""
    tokenizer = open_tokenizer(TokenizerConfig())
    pieces: defaultdict[str, list[tuple[int, list[int]]]] = defaultdict(list)
    for path in sorted(output.glob("train-*.parquet")):
        columns = ["input_ids", "seq_lengths", "doc_ids", "segment_offsets"]
        for batch in pq.ParquetFile(path).iter_batches(batch_size=64, columns=columns):
            for row in batch.to_pylist():
                start = 0
                for size, doc_id, offset in zip(
                    row["seq_lengths"], row["doc_ids"], row["segment_offsets"], strict=True
                ):
                    pieces[doc_id].append((offset, row["input_ids"][start : start + size]))
                    start += size
    for doc_id, parts in pieces.items():
        tokens = [token for _, part in sorted(parts) for token in part]
        assert tokens[-1] == tokenizer.eos_id, f"{doc_id} does not end with EOS"
        assert tokenizer.decode(tokens) == texts[doc_id], f"{doc_id} does not decode to its text"
    return len(pieces)


def main() -> None:
    """Print the table; exit 1 if anything does not hold."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lengths", type=int, nargs="*", default=[4096, 32768])
    options = parser.parse_args()
    files = sorted((CORPORA / "web").glob("*.jsonl.zst"))
    texts = texts_by_id(files)
    failures = []
    print("| L | order | read | accepted | tokens | sequences | padding | at the flush | cut | coherence | s |")
    print("|---:|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|")
    with tempfile.TemporaryDirectory() as folder:
        shuffled = shuffled_copy(files, Path(folder))
        for length in options.lengths:
            for is_shuffled in (False, True):
                output = Path(folder) / f"out-{length}-{is_shuffled}"
                inputs = [str(shuffled)] if is_shuffled else [str(path) for path in files]
                summary, seconds = curate(inputs, output, length)
                report = check_output(output)
                store = Store(state_folder(output), read_only=True)
                ledger = read_ledger(store)
                accepted = {
                    doc_id
                    for segment in read_segments(store)
                    for doc_id, is_accepted in zip(
                        segment.ids, segment.having(lambda stage, reason: not stage).tolist(), strict=True
                    )
                    if is_accepted
                }
                store.close()
                checked = check_round_trip(output, texts)
                failures += report.problems
                if checked != len(accepted):
                    failures.append(f"{len(accepted)} documents accepted, {checked} found in the output")
                if ledger.tokens_accepted != report.tokens:
                    failures.append(f"{ledger.tokens_accepted} tokens accepted, {report.tokens} in the output")
                if summary["padding"] > BOUNDS[length, is_shuffled] or summary["documents_cut"]:
                    failures.append(f"L={length}: padding {summary['padding']:.4%}, cut {summary['documents_cut']}")
                print(
                    f"| {length} | {'shuffled' if is_shuffled else 'files'} | {ledger.rows_read:,} | {len(accepted):,} "
                    f"| {report.tokens:,} | {report.sequences:,} | {summary['padding']:.4%} "
                    f"| {summary['padding_flushed']:.2%} | {summary['documents_cut']} | {summary['coherence']:.2f} "
                    f"| {seconds:.0f} |",
                    flush=True,
                )
    print("\nEvery accepted document was decoded from its tokens and equals its text.")
    if failures:
        sys.exit("\n".join(["", "What does not hold:", *failures]))


if __name__ == "__main__":
    main()
