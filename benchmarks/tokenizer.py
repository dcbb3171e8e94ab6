"""Tokenizer: CPU time against the libraries that own the vocabularies, identity of the ids, memory.

    python -m benchmarks.tokenizer [NAME ...] [--before CHECKOUT] [--identity] [--memory MB] [--corpora FOLDER]

NAMEs are those that `tokenizer.name` takes; without any it is Tekken, and a byte-level `tokenizer.json` trained here.

Speed: documents of four kinds, batch by batch, each new to all when it is timed: ours as it encodes after the first
megabytes, the vocabulary's own library, and with `--before` ours of another checkout, in a process of its own. Times
are CPU times of all threads (`time.process_time`) from the UTF-8 buffer to an array of ids; ratios carry over to other
machines, microseconds do not.

`--identity`: every document of the corpora, every code point below U+40000 in several contexts, 100,000 mixtures of
what splits texts; and the splitting expressions over a vocabulary of all pairs of bytes. The exit status is 1 if one id
differs. `--memory`: words that never come back, in one thread and in four, and the memory of the process.
"""

from __future__ import annotations

import argparse
import json
import os
import pickle
import random
import subprocess
import sys
import sysconfig
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

# The library's threads would hide what it costs.
os.environ["RAYON_NUM_THREADS"] = "1"

import numpy as np
import tokenizers
from tokenizers import AddedToken, Regex, decoders, models, normalizers, pre_tokenizers, trainers

from kernels.columns import join_texts
from packing.encoders import Encoder, TiktokenEncoder
from packing.fast_encoder import CL100K, EXPRESSIONS, LONG_S, QWEN, FastEncoder, FastokensEncoder
from packing.probes import EDGES, SENTENCES, probes
from packing.tokenizer import Tokenizer, TokenizerConfig, open_tokenizer
from tests.corpus import CORPORA, read_zst_jsonl

BATCH_DOCUMENTS = 256
CODE_CHARACTERS = 3600
MIXTURES = 100_000
# Beyond these there are no letters, marks, numbers or spaces, and surrogates are no text.
POINTS = [*range(0xD800), *range(0xE000, 0x40000), *range(0xE0000, 0xE0200), 0x50000, 0xF0000, 0x10FFFD]
CONTEXTS = (
    "a{0}A 1{0} \n {0}",
    "'{0}t a'{0} B{0}b {0}{0}1 a\u0327{0}\u0301 {0}\u0301\u0338x",
    "\n{0}\r\n{0}{0}  {0}'s ",
)
MIXED = (
    *(" ", "  ", "\n", "\r\n", "\t", "'", "'s", "'T", "'ſ", "ſ", "a", "A", "é", "e\u0301", "\u0301", "\u0327"),
    *("漢", "ありがとう", "한", "각", "ᄀ", "ᅡ", "ᆨ", "1", "12345", "٣", "½", "Ⅻ", "!", "...", "//", "\u00a0", "\u2028"),
    *("\u3000", "👍🏽", "👩‍👩", "🇩🇪", "\0", "\ufffd", "\ufeff", "ʰ", "ǅ", "ª", "ß", "ẞ", "İ", "ı", "ﬁ", "①", "Å"),
    *("Ω", "▁", "Ġ", "<0x41>", "</s>", "<s>", "<unk>", "<think>", "word", "Hello", "don't", "der", "Straße"),
    *("привет", "مرحبا", "नमस्ते", "ไทย", "\U0010fffe", "\ue000", "library", "newspaper"),
)  # fmt: skip
# In the other checkout: batches come in, CPU seconds and ids go out.
SERVE = """
import pickle, sys, time
from kernels.columns import join_texts
from packing.tokenizer import TokenizerConfig, open_tokenizer
tokenizer = open_tokenizer(TokenizerConfig(name=sys.argv[1], eos=False))
while True:
    texts = join_texts(pickle.load(sys.stdin.buffer))
    start = time.process_time()
    tokens = tokenizer.encode_batch(texts)
    pickle.dump((time.process_time() - start, tokens.values_T), sys.stdout.buffer)
    sys.stdout.buffer.flush()
"""


@dataclass(slots=True)
class Score:
    """Costs of one kind of documents, by who encodes."""

    documents: int = 0
    num_bytes: int = 0
    differing: int = 0
    seconds: dict[str, float] = field(default_factory=dict)

    def add(self, who: str, seconds: float) -> None:
        self.seconds[who] = self.seconds.get(who, 0.0) + seconds

    def line(self, kind: str) -> str:
        per_document = {who: 1e6 * seconds / self.documents for who, seconds in self.seconds.items()}
        ours, others = per_document["ours"], {who: us for who, us in per_document.items() if who != "ours"}
        told = "  ".join(f"{who} {us:8.1f} us = {us / ours:5.2f} x" for who, us in others.items())
        size = self.num_bytes / self.documents / 1e3
        return f"{kind:6}{self.documents:6,} of {size:5.2f} KB  ours {ours:7.1f} us  {told}  differ {self.differing}"


def texts_of(path: Path) -> Iterator[str]:
    """The texts of a corpus; fields of another kind, which some hostile ones have, are no texts."""
    for record in read_zst_jsonl(path):
        if isinstance(text := record.get("text"), str):
            yield text.encode("utf-8", "replace").decode()


def kinds(corpora: Path) -> dict[str, list[str]]:
    """Documents by kind: what a stream of the web is mixed of, German, Chinese, and code of this environment."""
    web = corpora / "web"
    mix = [text for path in sorted(web.glob("*.jsonl.zst")) for text in islice(texts_of(path), 0, None, 12)]
    random.Random(0).shuffle(mix)
    sources = sorted(Path(sysconfig.get_path("purelib")).glob("[a-m]*/**/*.py"))
    code = (path.read_text("utf-8", "replace")[:CODE_CHARACTERS] for path in sources[:: max(1, len(sources) // 1600)])
    return {
        "mix": [text for text in mix if len(text) < 100_000],
        "de": [text[:CODE_CHARACTERS] for text in islice(texts_of(web / "gesetze-de.jsonl.zst"), 1500)],
        "zh": ["".join(part) for part in _grouped(texts_of(web / "arxiv-zh-llm.jsonl.zst"), 5)],
        "code": [text for text in code if len(text) == CODE_CHARACTERS],
    }


def _grouped(texts: Iterator[str], number: int) -> Iterator[list[str]]:
    while part := list(islice(texts, number)):
        yield part


class Before:
    """The same tokenizer in another checkout."""

    def __init__(self, checkout: Path, name: str) -> None:
        command = [checkout / ".venv/bin/python", "-c", SERVE, name]
        environment = {**os.environ, "PYTHONPATH": str(checkout)}
        self._process = subprocess.Popen(
            command, cwd=checkout, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment
        )

    def encode(self, texts: list[str]) -> tuple[float, Any]:
        assert self._process.stdin
        assert self._process.stdout
        pickle.dump(texts, self._process.stdin)
        self._process.stdin.flush()
        return pickle.load(self._process.stdout)

    def close(self) -> None:
        self._process.kill()
        self._process.wait()


def measure(tokenizer: Tokenizer, before: Before | None, corpora: Path) -> int:
    """The table of one tokenizer; documents whose ids differ."""
    encoder = tokenizer.codec.encoder
    reference = encoder.reference if isinstance(encoder, FastEncoder) else encoder
    shift, total = np.uint32(tokenizer.codec.shift), 0
    for kind, documents in kinds(corpora).items():
        score = Score()
        for at in range(0, len(documents), BATCH_DOCUMENTS):
            texts = documents[at : at + BATCH_DOCUMENTS]
            buffer = join_texts(texts)
            ours, ours_s = timed(lambda: tokenizer.encode_batch(buffer))  # noqa: B023
            wanted, reference_s = timed(lambda: reference.encode(list(buffer)))  # noqa: B023
            score.add("ours", ours_s)
            if before is not None:
                before_s, ids_T = before.encode(texts)
                score.add("before", before_s)
                score.differing += not np.array_equal(ids_T, ours.values_T)
            score.add(reference.library.split()[0], reference_s)
            score.documents += len(texts)
            score.num_bytes += int(buffer.num_bytes().sum())
            score.differing += sum(not np.array_equal(ids, of + shift) for ids, of in zip(ours, wanted, strict=True))
        total += score.differing
        print(score.line(kind), flush=True)
    return total


def timed(work: Callable[[], Any]) -> tuple[Any, float]:
    """Result and CPU seconds."""
    start = time.process_time()
    return work(), time.process_time() - start


def differing(encoder: Encoder, reference: Encoder, texts: Iterator[str], what: str) -> int:
    """Texts whose ids differ, and the first few of them."""
    number, num_bytes, found = 0, 0, []
    while part := list(islice(texts, 1024)):
        number += len(part)
        num_bytes += sum(map(len, part))
        pairs = zip(part, encoder.encode(part), reference.encode(part), strict=True)
        found += [text for text, ids, wanted in pairs if not np.array_equal(ids, wanted)]
    examples = "".join(f" {text[:60]!a}" for text in found[:5])
    print(f"  {what}: {number:,} texts, {num_bytes / 1e6:,.1f} M characters, {len(found)} differ{examples}", flush=True)
    return len(found)


def points() -> Iterator[str]:
    return (context.format(chr(point)) for point in POINTS for context in CONTEXTS)


def mixtures() -> Iterator[str]:
    rng = random.Random(1)
    return ("".join(rng.choices(MIXED, k=rng.randint(1, 40))) for _ in range(MIXTURES))


def identity(tokenizer: Tokenizer, corpora: Path) -> int:
    """Texts whose ids are not those of the vocabulary's own library."""
    encoder = tokenizer.codec.encoder
    if not isinstance(encoder, FastEncoder):
        return 0
    paths = sorted(path for folder in ("web", "labelled", "hostile") for path in (corpora / folder).glob("*.jsonl.zst"))
    documents = (text for path in paths for text in texts_of(path))
    reference = encoder.reference
    return (
        differing(encoder, reference, points(), "code points")
        + differing(encoder, reference, mixtures(), "mixtures")
        + differing(encoder, reference, documents, "documents")
    )


def splitting() -> int:
    """The same of every expression: all pairs of bytes are tokens, no three are, so they tell where pieces begin."""
    pairs = [bytes([b]) for b in range(256)] + [bytes([a, b]) for a in range(256) for b in range(256)]
    number = 0
    for at, expression in enumerate(EXPRESSIONS):
        if expression == CL100K:  # another splitting at the end of a text, which only a vocabulary can hide
            continue
        reference = TiktokenEncoder.of(pairs, expression)
        encoder = FastEncoder(
            reference, again=lambda: reference, load=lambda: FastokensEncoder.of_ranks(pairs, expression),  # noqa: B023
            probes=probes, trap=LONG_S.get(expression, ""),
        )  # fmt: skip
        assert not encoder.settle()
        edges = (a + b for a in (*EDGES, *SENTENCES) for b in (*EDGES, *SENTENCES))
        for texts, what in ((points(), "code points"), (mixtures(), "mixtures"), (edges, "edges")):
            number += differing(encoder, reference, texts, f"expression {at}, {what}")
    return number


def memory(tokenizer: Tokenizer, megabytes: int, num_threads: int) -> None:
    """Encode words that never come back, and print what the process holds."""
    tokenizer.encode_batch(join_texts(["loaded"]))
    base, done = resident(), [0] * num_threads

    def encode(thread: int) -> None:
        rng = np.random.default_rng(thread)
        while sum(done) < megabytes * 1e6:
            lengths_W = rng.integers(4, 33, 40_000)  # of words, both sides of what one entry of a cache holds
            letters_N = rng.integers(97, 123, int(lengths_W.sum()), np.uint8)
            letters_N[np.cumsum(lengths_W) - 1] = 32
            text = letters_N.tobytes().decode()
            tokenizer.encode_batch(join_texts([text[at : at + 4000] for at in range(0, len(text), 4000)]))
            done[thread] += len(text)

    threads = [threading.Thread(target=encode, args=(thread,)) for thread in range(num_threads)]
    for each in threads:
        each.start()
    told, most = 0.0, 0.0
    while any(each.is_alive() for each in threads):
        time.sleep(0.2)
        most = max(most, resident() - base)
        if sum(done) / 1e6 >= told + megabytes / 8:
            told = sum(done) / 1e6
            print(f"  {num_threads} threads, {told:5.0f} MB: {resident() - base:+5.0f} MB", flush=True)
    print(f"  {num_threads} threads, {sum(done) / 1e6:,.0f} MB: at most {most:+.0f} MB over {base:.0f} MB", flush=True)


def resident() -> float:
    """Memory of this process, MB."""
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmRSS:")[1].split()[0]) / 1e3


def trained(corpora: Path, folder: Path) -> list[str]:
    """Tokenizers trained here: GPT-2's splitting; composing, with added words; with bytes for what it lacks."""
    texts = list(islice(texts_of(corpora / "web" / "arxiv-abstracts.jsonl.zst"), 2048))
    words = [AddedToken("<think>", special=False), AddedToken("library", single_word=True, special=False)]
    words += [AddedToken("newspaper", lstrip=True, rstrip=True, special=False), AddedToken("漢", special=False)]
    plain = tokenizers.Tokenizer(models.BPE())
    plain.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    plain.decoder = decoders.ByteLevel()
    composing = tokenizers.Tokenizer(models.BPE())
    composing.normalizer = normalizers.NFC()
    composing.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(Regex(QWEN), "isolated"), pre_tokenizers.ByteLevel(False, use_regex=False)]
    )
    lacking = tokenizers.Tokenizer(models.BPE(byte_fallback=True, unk_token="<unk>", fuse_unk=True))
    lacking.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    special = ["<unk>", "<s>", "</s>"]
    for name, tokenizer, alphabet, more in (
        ("trained", plain, pre_tokenizers.ByteLevel.alphabet(), []),
        ("trained, NFC, added words", composing, pre_tokenizers.ByteLevel.alphabet(), []),
        ("trained, byte fallback, added words", lacking, [], [f"<0x{byte:02X}>" for byte in range(256)]),
    ):
        trainer = trainers.BpeTrainer(
            vocab_size=16_000, initial_alphabet=alphabet, special_tokens=[*special, *more], show_progress=False,
            max_token_length=16,
        )  # fmt: skip
        tokenizer.train_from_iterator([text.replace(" ", "▁") for text in texts] if more else texts, trainer)
        if tokenizer is not plain:
            tokenizer.add_tokens(words)
        (folder / name).mkdir()
        definition = json.loads(tokenizer.to_str())
        # Trained as special tokens, so that no text is merged to one; they are ordinary pieces of the vocabulary.
        definition["added_tokens"] = [token for token in definition["added_tokens"] if token["content"] not in more]
        (folder / name / "tokenizer.json").write_text(json.dumps(definition))
    return [str(path) for path in sorted(folder.iterdir())]


def main() -> None:
    """All that is asked for; exit status 1 if an id differs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME")
    parser.add_argument("--before", type=Path, metavar="CHECKOUT")
    parser.add_argument("--identity", action="store_true")
    parser.add_argument("--memory", type=int, metavar="MB")
    parser.add_argument("--corpora", type=Path, default=CORPORA, help="folder of the development corpora")
    options = parser.parse_args()
    number = 0
    with tempfile.TemporaryDirectory() as folder:
        for name in options.names or ["tekken", *trained(options.corpora, Path(folder))]:
            tokenizer, open_s = timed(lambda: open_tokenizer(TokenizerConfig(name=name, eos=False)))  # noqa: B023
            library, settle_s = timed(tokenizer.settle)
            print(
                f"{Path(name).name}: {library}; opened in {open_s:.2f} s, changed over in {settle_s:.2f} s", flush=True
            )
            if options.memory:
                memory(tokenizer, options.memory, 1)
                memory(tokenizer, options.memory, 4)
            elif options.identity:
                number += identity(tokenizer, options.corpora)
            else:
                before = Before(options.before, name) if options.before else None
                number += measure(tokenizer, before, options.corpora)
                if before is not None:
                    before.close()
    if options.identity:
        number += splitting()
    print(f"texts whose ids differ: {number}")
    sys.exit(1 if number else 0)


if __name__ == "__main__":
    main()
