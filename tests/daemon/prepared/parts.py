"""Parts that the tests of prepared rows have in common."""

from __future__ import annotations

import random
from functools import cache

from consumers.broker import RawDocument
from consumers.formats.prepared import Covers, decode_message, encode_message
from consumers.memory import World
from curation.dedup.near import NearDedup
from curation.quality.judge import Quality
from daemon.config import Config
from daemon.models import open_models
from daemon.prepared.columns import Reader
from daemon.prepared.preparer import Preparer
from daemon.stages.prepare import Prepare
from tests.simulation.world import make_config, tokenizer


def preparer(config: Config) -> Preparer:
    stage = Prepare(
        quality=Quality(config.quality, config.language, open_models(config).all),
        near_dedup=NearDedup(config.dedup.near),
        tokenizer=tokenizer(),
    )
    return Preparer(config, stage)


def reader(config: Config) -> Reader:
    return Reader(Quality(config.quality, config.language, open_models(config).all), tokenizer())


@cache
def usual() -> Preparer:
    """One for all tests that change no option."""
    return preparer(make_config())


def messages(rows: list[RawDocument], one: Preparer, sizes: tuple[int, ...], seed: int) -> list[RawDocument]:
    """The rows as a topic of prepared messages gives them."""
    rng = random.Random(seed)
    prepared: list[RawDocument] = []
    at = 0
    while at < len(rows):
        part = rows[at : at + rng.choice(sizes)]
        covers = Covers("simulated", part[0].position, part[-1].position + 1)
        raw = encode_message(one.prepare(part), covers)
        message = decode_message(raw, one.identity, "a message")
        assert message.covers == covers
        prepared += message.rows
        at += len(part)
    return prepared


def facts(world: World) -> dict[tuple[str, bytes], bytes]:
    """All that a state knows at the end."""
    found: dict[tuple[str, bytes], bytes | None] = {}
    for record in world.journal:
        found.update({(family, key): value for family, key, value in record.changes})
    return {name: value for name, value in found.items() if value is not None}
