"""Tokenizer: CPU time against the references and identity of the ids, on one core.

`python -m benchmarks.tokenizer [--corpora FOLDER]` encodes every document of the folder's `web/` once with our Tekken
and once with tiktoken, the engine of mistral-common's Tekkenizer, batch by batch in one process, and counts the
documents whose ids differ: must be 0. Every document is new to the tokenizer when it is timed. The second table holds
our way with a byte-level `tokenizer.json` against the tokenizers library, on a vocabulary of 32,000 trained here.

Times are CPU times (`time.process_time`), all on one thread; ratios carry over to other machines, microseconds do not.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import resources
from itertools import islice
from pathlib import Path
from typing import TypeVar

# The library's threads would hide what it costs.
os.environ["RAYON_NUM_THREADS"] = "1"

import tokenizers
from mistral_common.tokens.tokenizers.tekken import Tekkenizer
from tokenizers import models, pre_tokenizers, trainers

from kernels.columns import join_texts
from packing.tokenizer import Tokenizer, TokenizerConfig, open_tokenizer
from tests.conftest import CORPORA
from tests.corpus import read_zst_jsonl

BATCH_DOCUMENTS = 256
COLUMNS = {"documents": 32, "number": 7, "KB/doc": 7, "ours us": 8, "MB/s": 6, "ref us": 8, "ref MB/s": 8, "ratio": 6}
HEADER = " ".join(f"{name:<{width}}" if width == 32 else f"{name:>{width}}" for name, width in COLUMNS.items())

Result = TypeVar("Result")


@dataclass(slots=True, kw_only=True)
class Score:
    """Cost of one set of documents."""

    documents: int = 0
    num_bytes: int = 0
    ours_s: float = 0.0
    reference_s: float = 0.0
    differing: int = 0

    def add(self, other: Score) -> None:
        """Sum up."""
        self.documents += other.documents
        self.num_bytes += other.num_bytes
        self.ours_s += other.ours_s
        self.reference_s += other.reference_s
        self.differing += other.differing

    def line(self, name: str) -> str:
        """One row of the table."""
        per_doc, megabytes = 1e6 / self.documents, self.num_bytes / 1e6
        return (
            f"{name:32} {self.documents:7,} {self.num_bytes / self.documents / 1e3:7.2f} "
            f"{self.ours_s * per_doc:8.1f} {megabytes / self.ours_s:6.1f} "
            f"{self.reference_s * per_doc:8.1f} {megabytes / self.reference_s:8.1f} "
            f"{self.reference_s / self.ours_s:6.1f} {self.differing:6}"
        )


def timed(work: Callable[[], Result]) -> tuple[Result, float]:
    """Result and CPU seconds."""
    start = time.process_time()
    result = work()
    return result, time.process_time() - start


def batches(path: Path) -> Iterator[list[str]]:
    """The texts of a file, BATCH_DOCUMENTS at a time."""
    texts = (record["text"] for record in read_zst_jsonl(path))
    while batch := list(islice(texts, BATCH_DOCUMENTS)):
        yield batch


def measure(path: Path, tokenizer: Tokenizer, reference: Callable[[list[str]], list[list[int]]]) -> Score:
    """Both over the same documents; making the UTF-8 buffer is not timed, the pipeline has it anyway."""
    score = Score()
    for texts in batches(path):
        joined = join_texts(texts)
        encoded, ours_s = timed(lambda: tokenizer.encode_batch(joined))  # noqa: B023
        wanted, reference_s = timed(lambda: reference(texts))  # noqa: B023
        score.add(
            Score(
                documents=len(texts),
                num_bytes=int(joined.ends_B[-1]),
                ours_s=ours_s,
                reference_s=reference_s,
                differing=sum(tokens.tolist() != ids for tokens, ids in zip(encoded, wanted, strict=True)),
            )
        )
    return score


def compare(paths: list[Path], tokenizer: Tokenizer, reference: Callable[[list[str]], list[list[int]]]) -> Score:
    """A table over several files."""
    tokenizer.encode_batch(join_texts(["compiled or loaded"]))
    total = Score()
    print(HEADER, "differ")
    for path in paths:
        score = measure(path, tokenizer, reference)
        print(score.line(f"{path.parent.name}/{path.name.split('.')[0]}"), flush=True)
        total.add(score)
    print(total.line("all"))
    print(
        f"at the rate of all, a document of 3.7 KB: ours {3.7e9 * total.ours_s / total.num_bytes:.0f} us, "
        f"reference {3.7e9 * total.reference_s / total.num_bytes:.0f} us\n"
    )
    return total


def main() -> None:
    """Both tables; exit status 1 if a document's ids differ."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--corpora", type=Path, default=CORPORA, help="folder of the development corpora")
    web = parser.parse_args().corpora / "web"

    tokenizer, start_s = timed(lambda: open_tokenizer(TokenizerConfig()))
    print(f"Tekken, against mistral-common's Tekkenizer (tiktoken); tables built in {start_s:.2f} s")
    tekkenizer = Tekkenizer.from_file(str(resources.files("mistral_common") / "data" / "tekken_240911.json"))
    model, shift, eos = tekkenizer._model, tekkenizer.num_special_tokens, tekkenizer.eos_id

    def with_tiktoken(texts: list[str]) -> list[list[int]]:
        # What Tekkenizer.encode does, but for its search for control tokens, of which its model has none.
        return [[*(token + shift for token in model.encode_ordinary(text)), eos] for text in texts]

    total = compare(sorted(web.glob("*.jsonl.zst")), tokenizer, with_tiktoken)

    trained = tokenizers.Tokenizer(models.BPE())
    trained.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=32_000, initial_alphabet=alphabet, special_tokens=["<|endoftext|>"], show_progress=False
    )
    texts = [text for batch in islice(batches(web / "arxiv-abstracts.jsonl.zst"), 8) for text in batch]
    trained.train_from_iterator(texts, trainer)
    with tempfile.TemporaryDirectory() as folder:
        trained.save(f"{folder}/tokenizer.json")
        tokenizer = open_tokenizer(TokenizerConfig(name=folder))
    eos = trained.token_to_id("<|endoftext|>")

    def with_tokenizers(texts: list[str]) -> list[list[int]]:
        return [[*encoding.ids, eos] for encoding in trained.encode_batch_fast(texts, add_special_tokens=False)]

    print("GPT-2's splitting, 32,000 tokens, against the tokenizers library")
    total.add(compare([web / "cncf-glossary.jsonl.zst", web / "peps.jsonl.zst"], tokenizer, with_tokenizers))
    print(f"documents whose ids differ: {total.differing}")
    raise SystemExit(1 if total.differing else 0)


if __name__ == "__main__":
    main()
