"""`curatord archive` on a real topic: killed again and again, over a store with faults, and read without a seam."""

from __future__ import annotations

import itertools
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from consumers.files.destination import open_destination
from curatord.errors import RetentionLost
from curatord.folder import shards_among
from curatord.stream import PackedStream
from tests.integration.broker import Broker
from tests.integration.world import end_offsets, wait_until
from tests.integration.writer import Writer, delete_before
from tests.object_store_server import BUCKET, store_server

END = 600


@pytest.fixture
def config(broker: Broker, topic: str, tmp_path: Path) -> Path:
    path = tmp_path / "curatord.toml"
    path.write_text(
        f'[kafka]\nbootstrap_servers = "{broker.bootstrap}"\n[topics]\nsequences = "{topic}"\n'
        '[metrics]\nlisten = "127.0.0.1:0"\n'
    )
    return path


def begin(config: Path, output: str, *options: str) -> subprocess.Popen[bytes]:
    # A shard a second, so that kills meet many.
    command = [sys.executable, "-m", "curatord", "archive", "-c", str(config), "-o", output, "--max-wait", "1"]
    return subprocess.Popen([*command, *options], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)


def end_of(process: subprocess.Popen[bytes]) -> tuple[int, bytes]:
    """Exit code and standard error."""
    _, errors = process.communicate(timeout=120)
    return process.returncode, errors


def archived(output: str) -> int:
    """The number behind the last sequence that lies there."""
    return max((shard.last + 1 for shard in shards_among(open_destination(output).shards())), default=0)


def cut(bootstrap: str, topic: str, share: float) -> None:
    delete_before(bootstrap, topic, {p: int(end * share) for p, end in end_offsets(bootstrap, topic).items()})


@pytest.mark.parametrize("place", ["folder", f"s3://{BUCKET}/archive"])
def test_a_reader_goes_from_the_archive_to_the_topic_without_a_seam(
    broker: Broker, topic: str, writer: Writer, config: Path, tmp_path: Path, place: str
) -> None:
    url, draw = f"kafka://{broker.bootstrap}/{topic}", random.Random(0)
    with store_server() as server:
        output = place if "://" in place else str(tmp_path / place)
        server.share = 0.1
        for first in range(0, 400, 100):
            writer.write(range(first, first + 100))
            writer.write(range(first + 100, first + 110), abort=True)
            process = begin(config, output)
            time.sleep(draw.uniform(1.5, 5.0))
            process.kill()
            end_of(process)
        assert end_of(begin(config, output, "--once"))[0] == 0
        assert archived(output) == 400
        cut(broker.bootstrap, topic, 0.6)
        writer.write(range(400, END), end=END)
        server.share = 0.0

        with pytest.raises(RetentionLost):
            next(PackedStream(url, start=0))
        for world in (1, 2, 3):
            found = [
                sequence.seq_no
                for rank in range(world)
                for sequence in PackedStream(url, rank=rank, world=world, start=0, archive=output)
            ]
            assert sorted(found) == list(range(END - END % world)), world
        with PackedStream(url, archive=output) as stream:
            assert stream.bounds().first == 0
            for _ in range(17):
                next(stream)
            state = stream.state_dict()
            assert [sequence.seq_no for sequence in stream.replay(3, 6)] == [3, 4, 5]
        with PackedStream(url, archive=output, start=state) as again:
            assert next(again).seq_no == 17
        shards = shards_among(open_destination(output).shards())
        assert all(shard.last + 1 == following.first for shard, following in itertools.pairwise(shards))


def test_it_is_stopped_and_told_what_was_lost(
    broker: Broker, topic: str, writer: Writer, config: Path, tmp_path: Path
) -> None:
    output = str(tmp_path / "archive")
    writer.write(range(100))
    process = begin(config, output)
    wait_until(lambda: archived(output) == 100, "the archive has all")
    process.send_signal(signal.SIGTERM)
    assert end_of(process)[0] == 0

    writer.write(range(100, 200))
    writer.write(range(200, 300))
    cut(broker.bootstrap, topic, 0.7)
    exit_code, errors = end_of(begin(config, output, "--once"))

    assert exit_code == 1
    assert b"sequence 100 is not on topic" in errors
    assert os.listdir(output).count(".curatord") == 1
