"""Shares of the tokens of each source that a bandit keeps, by what it is rewarded for.

    python -m benchmarks.reward_shares MIX.jsonl WORK --wanted W.jsonl --against A.jsonl --head web.head

MIX has a field `source`. No source is to fall below half of its tokens, unless the target says so.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from state.segments import read_segments
from state.store import Store, state_folder

REWARDS = (["rules"], ["head"], ["target"], ["rules", "target", "head"])


def shares(output: Path) -> dict[str, float]:
    """Of the accepted tokens, by source; "" for all."""
    store = Store(state_folder(output), read_only=True)
    tokens: dict[str, tuple[str, int]] = {}
    for segment in read_segments(store):
        num_tokens, sources = segment.column("num_tokens", np.int64), segment.column("source_index", np.uint32)
        for row in np.flatnonzero(segment.having(lambda stage, _: not stage)).tolist():
            tokens[segment.ids[row]] = segment.sources[sources[row]], int(num_tokens[row])
    store.close()
    emitted: set[str] = set()
    for shard in sorted(output.glob("*.parquet")):
        for doc_ids in pq.read_table(shard, columns=["doc_ids"])["doc_ids"].to_pylist():
            emitted.update(doc_ids)
    arrived, kept = Counter[str](), Counter[str]()
    for doc_id, (source, count) in tokens.items():
        for name in (source, ""):
            arrived[name] += count
            kept[name] += count * (doc_id in emitted)
    return {name: kept[name] / arrived[name] for name in sorted(arrived)}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("mix", type=Path)
    parser.add_argument("work", type=Path)
    for name in ("wanted", "against", "head"):
        parser.add_argument(f"--{name}", required=True)
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    for reward in REWARDS:
        config, output = options.work / f"{'-'.join(reward)}.toml", options.work / "-".join(reward)
        config.write_text(
            f"[bandit]\nenabled = true\nkeep_ratio = 0.5\nreward = {json.dumps(reward)}\n"
            f"[target]\nfiles = {json.dumps([options.wanted])}\nagainst = {json.dumps([options.against])}\n"
            f"[quality.heads.head]\nfile = {json.dumps(options.head)}\n[embedding]\nwarmup_documents = 1024\n"
        )
        command = [sys.executable, "-m", "curatord", "curate", str(options.mix), "-o", str(output), "-c", str(config)]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        print(f"{' + '.join(reward):<24}", *(f"{name or 'all'} {share:.3f}" for name, share in shares(output).items()))


if __name__ == "__main__":
    main()
