"""The whole loop on one machine: a crawler writes, the daemon curates, a tiny Llama trains, its losses come back.

    python -m examples.train_live [--steps 400] [--folder live]

Starts a Kafka broker as the tests do (CURATORD_TEST_BOOTSTRAP, a container, or Apache Kafka from Maven Central), a
daemon whose bandit is on, and a trainer; stops the trainer in the middle, goes on with two ranks, and draws live.png:
the loss of every kind of document, what the bandit thinks of its clusters, and what training gets.

Three kinds of documents arrive in equal shares: docstrings of the Python packages on this machine, which a model goes
on learning from; sums, which it learns soon; and random letters, which cannot be learned. The bandit is not told.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import subprocess
import sys
import threading
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import matplotlib
import numpy as np
from kafka import KafkaProducer
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from examples.tiny_trainer import GLOBAL_BATCH
from tests.integration.broker import open_broker
from tests.integration.maven_broker import NoBroker, free_ports

matplotlib.use("agg")
from matplotlib import pyplot as plt

KINDS = ("docstring", "sum", "noise")
VOCABULARY = 2048
CONTEXT = 256
LETTERS = "abcdefghijklmnopqrstuvwxyz"
LEAD = 64  # sequences that may wait for the trainer before the crawler pauses
BURST = 256  # documents that it writes at once
CONFIG = """\
[kafka]
bootstrap_servers = "{bootstrap}"
lane = "live"
[state]
dir = "{folder}/state"
[metrics]
listen = "127.0.0.1:{port}"
[tokenizer]
name = "{folder}/tokenizer.json"
eos_token = "<eos>"
[embedding]
warmup_documents = 768
[clusters]
min_clusters = 3
initial_clusters = 6
max_clusters = 12
[bandit]
enabled = true
reward = ["progress"]
keep_ratio = 0.4
discount = 0.85
[packing]
context_length = {context}
pool_documents = 64
shuffle_block_rows = 8
[feedback]
half_life_steps = 40
"""


def crawl(folder: Path, seed: int) -> Iterator[dict[str, str]]:
    """A document of each kind in turn, as long as there are docstrings."""
    rng = random.Random(seed)
    texts = [json.loads(line)["text"] for line in (folder / "gathered.jsonl").open()]
    rng.shuffle(texts)
    for number in range(10**9):
        kind = KINDS[number % len(KINDS)]
        if kind == "docstring":
            if number // len(KINDS) >= len(texts):
                return
            text = texts[number // len(KINDS)][:400]
        elif kind == "sum":
            pairs = [(rng.randrange(1000), rng.randrange(1000)) for _ in range(8)]
            text = "\n".join(f"The sum of {a} and {b} is {a + b}." for a, b in pairs)
        else:
            text = " ".join("".join(rng.choices(LETTERS, k=rng.randrange(3, 9))) for _ in range(20))
        yield {"id": f"{kind}/{number}", "text": text, "source": kind}


class Crawler(threading.Thread):
    """Writes as long as the trainer can follow."""

    def __init__(self, bootstrap: str, folder: Path, port: int) -> None:
        super().__init__(daemon=True)
        self._producer = KafkaProducer(bootstrap_servers=bootstrap, acks="all", linger_ms=50)
        self._folder, self._port = folder, port
        self.stopping = threading.Event()
        self.samples: list[dict[str, Any]] = []
        self._sent = 0

    def run(self) -> None:
        documents = crawl(self._folder, seed=0)
        while not self.stopping.wait(0.5):
            metrics = scrape(self._port)
            if metrics:
                self.samples.append({"step": len(steps_of(self._folder)), "metrics": metrics})
            emitted = metrics.get("curatord_sequences_total", 0.0)
            in_flight = self._sent - metrics.get("curatord_rows", self._sent)
            trained = GLOBAL_BATCH * len(steps_of(self._folder))
            if emitted - trained < LEAD and in_flight < 1200:
                for _ in range(BURST):
                    document = next(documents, None)
                    if document is None:
                        return
                    self._producer.send("documents", json.dumps(document).encode())
                    self._sent += 1
                self._producer.flush()


def scrape(port: int) -> dict[str, float]:
    """The daemon's metrics; none while it starts."""
    try:
        with urlopen(f"http://127.0.0.1:{port}/metrics", timeout=2) as answer:
            text = answer.read().decode()
    except OSError:
        return {}
    found = {name: float(value) for name, value in re.findall(r"^(curatord_\S+) (\S+)$", text, re.M)}
    found["curatord_rows"] = sum(value for name, value in found.items() if name.startswith("curatord_documents_total"))
    return found


def steps_of(folder: Path) -> list[dict[str, Any]]:
    """Lines that rank 0 logged."""
    path = folder / "train.0.jsonl"
    return [json.loads(line) for line in path.open() if line.endswith("\n")] if path.exists() else []


def make_tokenizer(folder: Path) -> None:
    """A small BPE, so that a tiny model has a small vocabulary."""
    texts = [document["text"] for _, document in zip(range(6000), crawl(folder, seed=1), strict=False)]
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=VOCABULARY, special_tokens=["<eos>"], initial_alphabet=alphabet)
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.save(str(folder / "tokenizer.json"))


def train(folder: Path, bootstrap: str, *, ranks: int, steps: int) -> None:
    """Trains with so many ranks, from the checkpoint, to a step."""
    arguments = [f"kafka://{bootstrap}/sequences", f"--vocabulary={VOCABULARY}", f"--context-length={CONTEXT}"]
    arguments += [f"--steps={steps}", f"--checkpoint={folder / 'model.pt'}", f"--log={folder / 'train.jsonl'}"]
    (port,) = free_ports(1)
    processes = []
    for rank in range(ranks):
        world = {"RANK": str(rank), "WORLD_SIZE": str(ranks), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
        command = [sys.executable, "-m", "examples.tiny_trainer", *arguments, "--run-id=live"]
        processes.append(subprocess.Popen(command, env={**os.environ, **world}))
    if any(process.wait() for process in processes):
        raise SystemExit("the trainer failed; its message is above")


def draw(folder: Path, samples: list[dict[str, Any]]) -> None:
    """live.png: the loss of each kind, the posterior of its clusters, its share of what training gets."""
    lines = [json.loads(line) for path in sorted(folder.glob("train.*.jsonl")) for line in path.open()]
    kinds: dict[int, Counter[str]] = defaultdict(Counter)
    losses: dict[str, dict[int, list[float]]] = {kind: defaultdict(list) for kind in KINDS}
    tokens: dict[str, Counter[int]] = {kind: Counter() for kind in KINDS}
    for line in lines:
        for doc_id, cluster, length, loss in line["documents"]:
            kind = doc_id.partition("/")[0]
            kinds[cluster][kind] += 1
            losses[kind][line["step"] // 5].append(loss)
            tokens[kind][line["step"] // 5] += length
    resumed = min((line["step"] for line in lines if line["world"] > 1), default=None)
    colours = dict(zip(KINDS, ("tab:blue", "tab:orange", "tab:gray"), strict=True))
    figure, (upper, middle, lower) = plt.subplots(3, 1, figsize=(9, 10), sharex=True, layout="constrained")
    for kind in KINDS:
        steps = sorted(losses[kind])
        upper.plot([5 * s for s in steps], [np.mean(losses[kind][s]) for s in steps], color=colours[kind], label=kind)
    upper.set(title="Loss of what is trained on", ylabel="nats a token")
    upper.legend()
    for cluster, counts in sorted(kinds.items()):
        name = f'curatord_bandit_reward_mean{{cluster="{cluster}"}}'
        points = [(sample["step"], sample["metrics"][name]) for sample in samples if name in sample["metrics"]]
        if points:
            middle.plot(
                *zip(*points, strict=True), color=colours[counts.most_common(1)[0][0]], label=f"cluster {cluster}"
            )
    middle.set(title="What the bandit thinks of each cluster, by what most of it is", ylabel="reward, mean")
    all_steps = sorted({step for kind in KINDS for step in tokens[kind]})
    shares = np.array([[tokens[kind][step] for step in all_steps] for kind in KINDS], float)
    shares /= shares.sum(axis=0)
    lower.stackplot([5 * s for s in all_steps], shares, colors=list(colours.values()), labels=KINDS, alpha=0.8)
    lower.set(title="What training gets", xlabel="optimiser step", ylabel="share of tokens", ylim=(0, 1))
    if resumed is not None:
        for axes in (upper, middle, lower):
            axes.axvline(resumed, color="black", linestyle=":", linewidth=1)
        place = (resumed + 2, upper.get_ylim()[1] - 0.1)
        upper.annotate("stopped, resumed with two ranks", place, va="top", fontsize=8)
    figure.savefig(folder / "live.png", dpi=120)


def main() -> int:
    """Run all parts in order; each is stopped at the end, after an error too."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--folder", type=Path, default=Path("live"))
    options = parser.parse_args()
    folder = options.folder.resolve()
    if folder.exists():
        parser.error(f"{folder} is there already: remove it, or give another --folder")
    try:
        broker = open_broker()
    except NoBroker as error:
        parser.exit(1, f"There is no broker to try it with: {error}\n")
    folder.mkdir(parents=True)
    (port,) = free_ports(1)
    config = folder / "curatord.toml"
    config.write_text(CONFIG.format(bootstrap=broker.bootstrap, folder=folder, port=port, context=CONTEXT))
    curatord = str(Path(sys.executable).with_name("curatord"))
    daemon = crawler = None
    try:
        print("Gathering documents", flush=True)
        subprocess.run([sys.executable, "-m", "tools.gather_documents", str(folder / "gathered.jsonl")], check=True)
        make_tokenizer(folder)
        subprocess.run([curatord, "topics", "create", "--yes", "-c", str(config)], check=True)
        daemon = subprocess.Popen([curatord, "run", "-c", str(config)], stdout=(folder / "daemon.log").open("w"))
        crawler = Crawler(broker.bootstrap, folder, port)
        crawler.start()
        print("Training with one rank", flush=True)
        train(folder, broker.bootstrap, ranks=1, steps=options.steps // 2)
        print("Stopped. Training on with two ranks", flush=True)
        train(folder, broker.bootstrap, ranks=2, steps=options.steps)
    finally:
        if crawler is not None:
            crawler.stopping.set()
            crawler.join()
        if daemon is not None:
            daemon.terminate()
            daemon.wait(30)
        broker.close()
    draw(folder, crawler.samples)
    print(f"The picture is {folder / 'live.png'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
