"""The whole loop on one machine: a crawler writes, the daemon curates, a tiny Llama trains, and its model chooses.

    python -m examples.train_live [--seeds 0] [--steps 200] [--folder live]

Starts a Kafka broker as the tests do (CURATORD_TEST_BOOTSTRAP, a container, or Apache Kafka from Maven Central). Then,
one after another, three runs that differ in nothing but what the daemon's bandit is rewarded with: `influence` on a
reference set of docstrings, which a worker (`curatord score`) computes with the trainer's own checkpoints; `progress`,
the trainer's losses; and `none`, no bandit. Draws live.png: the loss on held-out docstrings at equal tokens, and what
training gets.

Four kinds of documents arrive in equal shares (`examples/live_crawl.py`). The bandit is told of no kind. A run that is
in the folder is not done again, so that more seeds can be added.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from examples.live_crawl import Crawler, crawl
from examples.live_picture import draw, reference_losses
from tests.integration.broker import open_broker
from tests.integration.maven_broker import NoBroker, free_ports

VOCABULARY = 2048
CONTEXT = 256
HIDDEN = 64
CHECKPOINT_STEPS = 20
REFERENCE, EVALUATION = 48, 96  # docstrings that the scorer is given, and that the loss is measured on
DOCSTRINGS = 3200
MAX_CHARACTERS = 400
CONFIG = """\
[kafka]
bootstrap_servers = "{bootstrap}"
lane = "{lane}"
[topics]
documents = "{lane}-documents"
sequences = "{lane}-sequences"
feedback = "{lane}-feedback"
{probes}dead_letters = "{lane}-dead-letters"
journal = "{lane}-journal"
artifacts = "{lane}-artifacts"
[state]
dir = "{folder}/state"
[metrics]
listen = "127.0.0.1:{port}"
[tokenizer]
name = "{tokenizer}"
eos_token = "<eos>"
[embedding]
warmup_documents = 256
[clusters]
min_clusters = 4
initial_clusters = 8
max_clusters = 16
[packing]
context_length = {context}
pool_documents = 64
shuffle_block_rows = 8
[feedback]
half_life_steps = 40
"""
BANDIT = "[bandit]\nenabled = true\nkeep_ratio = 0.4\ndiscount = 0.85\nprobe_ratio = 0.1\n"
ARMS = {
    "influence": BANDIT + 'reward = ["influence"]\n',
    "progress": BANDIT + 'reward = ["progress"]\n',
    "none": "",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One model, and the daemon that feeds it."""

    arm: str
    seed: int
    folder: Path  # of this run; the texts are in the folder above

    @property
    def is_scored(self) -> bool:
        """Whether a scorer is asked for rewards."""
        return self.arm == "influence"

    @property
    def tokenizer(self) -> Path:
        """One for all runs."""
        return self.folder.parent / "tokenizer.json"

    def texts(self, name: str) -> list[str]:
        """Docstrings: of the stream, for the scorer, or to be measured on."""
        with (self.folder.parent / f"{name}.jsonl").open() as file:
            return [json.loads(line)["text"] for line in file]

    def config(self, bootstrap: str, port: int, name: str) -> Path:
        """The file of one process."""
        path = self.folder / f"{name}.toml"
        lane = f"{self.arm}-{self.seed}"
        section = CONFIG.format(
            bootstrap=bootstrap,
            lane=lane,
            probes=f'probes = "{lane}-probes"\n' if self.is_scored else "",
            folder=self.folder,
            port=port,
            tokenizer=self.tokenizer,
            context=CONTEXT,
        )
        path.write_text(section + ARMS[self.arm])
        return path


@contextmanager
def process(command: list[str], log: Path) -> Iterator[None]:
    """A process beside this one, which is told to stop at the end."""
    child = subprocess.Popen(command, stdout=log.open("w"), stderr=subprocess.STDOUT)
    try:
        yield
    finally:
        child.terminate()
        try:
            child.wait(30)
        except subprocess.TimeoutExpired:
            child.kill()


def carry_out(run: Run, bootstrap: str, steps: int) -> None:
    """Daemon, scorer, crawler and trainer, until the trainer has taken its steps."""
    run.folder.mkdir()
    (run.folder / "checkpoints").mkdir()
    (port,) = free_ports(1)
    config, curatord = run.config(bootstrap, port, "daemon"), str(Path(sys.executable).with_name("curatord"))
    subprocess.run([curatord, "topics", "create", "--yes", "-c", str(config)], check=True, stdout=subprocess.DEVNULL)
    with ExitStack() as stack:
        stack.enter_context(process([curatord, "run", "-c", str(config)], run.folder / "daemon.log"))
        if run.is_scored:
            score = [curatord, "score", "-c", str(run.config(bootstrap, 0, "scorer")), "--device", "cpu"]
            score += [
                "--model",
                str(run.folder / "checkpoints"),
                "--reference",
                str(run.folder.parent / "wanted.jsonl"),
            ]
            stack.enter_context(process(score, run.folder / "scorer.log"))
        documents = crawl(run.texts("stream"), run.seed)
        stack.enter_context(Crawler(bootstrap, f"{run.arm}-{run.seed}-documents", run.folder, port, documents))
        command = [sys.executable, "-m", "examples.tiny_trainer", f"kafka://{bootstrap}/{run.arm}-{run.seed}-sequences"]
        command += [f"--feedback=kafka://{bootstrap}/{run.arm}-{run.seed}-feedback"]
        command += [f"--vocabulary={VOCABULARY}", f"--context-length={CONTEXT}", f"--hidden-size={HIDDEN}"]
        command += [f"--steps={steps}", f"--seed={run.seed}", f"--log={run.folder / 'train.jsonl'}", "--run-id=live"]
        command += [f"--models={run.folder / 'checkpoints'}", f"--every={CHECKPOINT_STEPS}"]
        command += [f"--checkpoint={run.folder / 'model.pt'}"]
        if subprocess.run(command).returncode:
            raise SystemExit(f"the trainer failed; its message is above, and the logs are in {run.folder}")


def gather(folder: Path) -> None:
    """Docstrings, parted, and a small BPE, so that a tiny model has a small vocabulary."""
    gathered = folder / "gathered.jsonl"
    gathering = [sys.executable, "-m", "tools.gather_documents", str(gathered), f"--max-documents={DOCSTRINGS}"]
    subprocess.run(gathering, check=True)
    texts = [json.loads(line)["text"][:MAX_CHARACTERS] for line in gathered.open()]
    random.Random(0).shuffle(texts)
    parts = {"wanted": texts[:REFERENCE], "held_out": texts[REFERENCE : REFERENCE + EVALUATION]}
    for name, part in {**parts, "stream": texts[REFERENCE + EVALUATION :]}.items():
        (folder / f"{name}.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in part))
    seen = (row["text"] for _, row in zip(range(6000), crawl(texts, seed=-1), strict=False))
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY, special_tokens=["<eos>"], initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(seen, trainer)
    tokenizer.save(str(folder / "tokenizer.json"))


def main() -> int:
    """Carry out the runs that are not there yet, and draw all."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="*", default=[0])
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--folder", type=Path, default=Path("live"))
    options = parser.parse_args()
    folder: Path = options.folder.resolve()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    try:
        broker = open_broker()
    except NoBroker as error:
        parser.exit(1, f"There is no broker to try it with: {error}\n")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not (folder / "tokenizer.json").exists():
            print("Gathering documents", flush=True)
            gather(folder)
        for seed in options.seeds:
            for arm in ARMS:
                run = Run(arm=arm, seed=seed, folder=folder / f"{arm}-{seed}")
                if (run.folder / "reference.json").exists():
                    continue
                shutil.rmtree(run.folder, ignore_errors=True)
                print(f"Training with the reward: {arm} (seed {seed})", flush=True)
                carry_out(run, broker.bootstrap, options.steps)
                measure = partial(reference_losses, run.folder / "checkpoints", run.tokenizer, CONTEXT)
                (run.folder / "reference.json").write_text(json.dumps(measure(run.texts("held_out"))))
    finally:
        broker.close()
    draw(folder, list(ARMS))
    print(f"The picture is {folder / 'live.png'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
