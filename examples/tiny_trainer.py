"""A training loop in plain PyTorch that reads a live topic, reports its losses and can be stopped and resumed.

    torchrun --nproc-per-node 2 examples/tiny_trainer.py kafka://localhost:9092/sequences --vocabulary 4096 --steps 100

What it needs of curatord is marked with (*). The global batch is the same for any number of ranks, so a run may stop
under one and go on under another.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from itertools import islice
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch.nn.functional import cross_entropy
from transformers import LlamaConfig, LlamaForCausalLM
from transformers.utils.logging import disable_progress_bar

from curatord import PackedSequence, PackedStream
from curatord.adapters.rows import NO_TARGET, rows

GLOBAL_BATCH = 8  # sequences a step, all ranks together


def tiny_model(vocabulary: int, context_length: int, hidden_size: int, seed: int) -> LlamaForCausalLM:
    """About a million parameters with a hidden size of 128, the same on every rank."""
    torch.manual_seed(seed)
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=vocabulary,
            hidden_size=hidden_size,
            intermediate_size=2 * hidden_size,
            num_hidden_layers=2,
            num_attention_heads=4,
            max_position_embeddings=context_length,
            use_cache=False,  # with a cache, documents of a row would see each other
        )
    )


def losses_of(model: LlamaForCausalLM, batch: list[PackedSequence]) -> tuple[torch.Tensor, torch.Tensor]:
    """Loss of every token but the first of a row, 0 where there is no target; the number of targets."""
    arrays = rows(batch)
    labels = torch.from_numpy(arrays.labels_BL)[:, 1:]
    logits = model(
        input_ids=torch.from_numpy(arrays.input_ids_BL), position_ids=torch.from_numpy(arrays.position_ids_BL)
    ).logits
    losses = cross_entropy(logits[:, :-1].transpose(1, 2), labels, reduction="none", ignore_index=NO_TARGET)
    return losses, (labels != NO_TARGET).sum()


def train(options: argparse.Namespace, rank: int, world: int) -> None:
    """From the checkpoint, if there is one, to step `--steps`."""
    saved: dict[str, Any] = torch.load(options.checkpoint) if options.checkpoint.exists() else {}
    model = tiny_model(options.vocabulary, options.context_length, options.hidden_size, options.seed)
    optimizer = torch.optim.AdamW(model.parameters(), lr=options.learning_rate)
    if saved:
        model.load_state_dict(saved["model"])
        optimizer.load_state_dict(saved["optimizer"])
    share = GLOBAL_BATCH // world
    stream = PackedStream(  # (*)
        options.url,
        feedback=options.feedback,
        rank=rank,
        world=world,
        start=saved.get("stream"),
        run_id=options.run_id,
    )
    first = saved.get("step", 0)
    for step in range(first, options.steps):
        batch = list(islice(stream, share))  # (*)
        if len(batch) < share:
            break  # the stream was ended; for all ranks at the same step
        losses, num_targets = losses_of(model, batch)
        total = torch.stack([losses.detach().sum(), num_targets.float()])
        if world > 1:
            dist.all_reduce(num_targets)
            dist.all_reduce(total)
        optimizer.zero_grad()
        (losses.sum() / num_targets).backward()
        if world > 1:
            for parameter in model.parameters():
                dist.all_reduce(parameter.grad)
        optimizer.step()
        if options.run_id:
            stream.report(losses, batch, step=step, shifted=True)  # (*)
        if rank == 0 and (step + 1) % 25 == 0:
            print(
                f"step {step + 1}: loss {float(total[0] / total[1]):.2f}, {world} rank{'s' * (world > 1)}", flush=True
            )
        if rank == 0 and options.models is not None and (step + 1) % options.every == 0:
            save_model(model, options.models / f"step-{step + 1}")
        write_log(options.log, rank, step, world, float(total[0] / total[1]), losses.detach(), batch)
    state = stream.state_dict()  # (*)
    if rank == 0:
        done = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "stream": state, "step": step + 1}
        torch.save(done, options.checkpoint)
        if options.run_id:
            stream.release(state)  # (*)
    stream.close()


def save_model(model: LlamaForCausalLM, folder: Path) -> None:
    """For `curatord score`. It is there as a whole, or not at all."""
    disable_progress_bar()
    unfinished = folder.with_name(f".{folder.name}")
    model.save_pretrained(unfinished)
    unfinished.rename(folder)


def write_log(
    path: Path, rank: int, step: int, world: int, loss: float, losses: torch.Tensor, batch: list[PackedSequence]
) -> None:
    """Data of the picture: a line a step and rank, with every document's loss."""
    documents = []
    for row, sequence in enumerate(batch):
        end = 0
        for doc_id, length, cluster in zip(
            sequence.doc_ids, sequence.segment_lengths_S.tolist(), sequence.clusters_S.tolist(), strict=True
        ):
            start, end = end, end + length
            if length > 1:
                documents.append([doc_id, cluster, length, float(losses[row, start : end - 1].mean())])
    line = {"step": step, "rank": rank, "world": world, "loss": loss, "documents": documents}
    line["seq_nos"] = [sequence.seq_no for sequence in batch]
    with path.with_suffix(f".{rank}.jsonl").open("a") as file:
        file.write(json.dumps(line) + "\n")


def parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("url", help="kafka://host:9092/topic, or the output folder of `curatord curate`")
    parser.add_argument("--vocabulary", type=int, required=True)
    parser.add_argument("--context-length", type=int, default=256)
    parser.add_argument("--hidden-size", type=int, default=128)
    parser.add_argument("--seed", type=int, default=0, help="of the first weights")
    parser.add_argument("--steps", type=int, default=100, help="train until so many steps were taken, in all")
    parser.add_argument("--learning-rate", type=float, default=2e-3)
    parser.add_argument("--feedback", default="", help="the topic to report to, as the url; else feedback")
    parser.add_argument("--run-id", default="", help="report losses under this name")
    parser.add_argument("--checkpoint", type=Path, default=Path("tiny.pt"))
    parser.add_argument("--models", type=Path, help="a folder for models as transformers has them, for a scorer")
    parser.add_argument("--every", type=int, default=100, help="steps between two of them")
    parser.add_argument("--log", type=Path, default=Path("tiny.jsonl"))
    return parser


def main() -> int:
    """Under torchrun, or alone."""
    options = parser().parse_args()
    rank, world = int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))
    torch.set_num_threads(1)
    if world > 1:
        dist.init_process_group("gloo")
    train(options, rank, world)
    if world > 1:
        dist.destroy_process_group()
    return 0


if __name__ == "__main__":
    sys.exit(main())
