"""`curatord validate`: the configuration in three tiers: its fields, their relations, and what they name."""

from __future__ import annotations

import tempfile
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from curation.acquisition.url_lists import open_urls
from curatord.errors import ConfigError, IdentityError, StateError
from daemon.commands.screen import PATIENCE_S, show
from daemon.config import NO_VECTORS, Config, check_endless, load_config
from packing.tokenizer import loss_of_text, open_tokenizer
from state.common_facts import LANE
from state.store import Store, state_folder


def validate(config_path: Path | None, output: Path | None, *, environment: bool) -> None:
    """Print what was checked; for a file that says something in [kafka] that is what `run` would need.

    Raises `ConfigError`, `IdentityError`, `StateError` or `BrokerUnavailable` at the first tier that fails.
    """
    config = load_config(config_path)
    show(f"{config_path or 'defaults'}: every option is known and of its type, and they agree with each other")
    tokenizer = open_tokenizer(config.tokenizer)
    open_urls(config.urls)
    show(f"tokenizer {tokenizer.name}: {tokenizer.vocabulary_size:,} ids, EOS {tokenizer.eos_id}; {tokenizer.settle()}")
    if not tokenizer.lossless:
        show(f"warning: {loss_of_text(tokenizer)}")
    if not environment:
        return
    from consumers.kafka.connection import client_options
    from daemon.app import build_restored, encode_identity
    from daemon.prepared.identity import prepared_identity

    is_service = output is None and _names_cluster(config_path)
    if is_service:
        check_endless(config)
        client_options(config.kafka)  # reads the files that it names
    own_state = Path(config.state.dir) if is_service else state_folder(output) if output is not None else None
    with tempfile.TemporaryDirectory(prefix="curatord-validate-") as folder:
        if own_state is not None and (own_state / "CURRENT").exists():
            store, where = Store(own_state, read_only=True), f"the state in {own_state}"
        else:
            store, where = Store(Path(folder)), "an empty state"
        try:
            pipeline = build_restored(config, store)
            pipeline.close()
            lane = LANE.get(store, None)
        finally:
            store.close()
    if config.makes_vectors:
        show(f"embedding model {config.embedding.model}: {pipeline.compose.embedder.dimension} dimensions")
    else:
        show(NO_VECTORS)
    show(f"built over {where}: ready for `curatord {'run' if is_service else 'curate'}`")
    if not is_service and output is None:
        show("[kafka] says nothing, so no cluster was looked for; with kafka.bootstrap_servers it is")
    if is_service:
        _check_service(config, encode_identity(config, tokenizer), prepared_identity(config, tokenizer), lane)


def _names_cluster(config_path: Path | None) -> bool:
    """Whether the file means a service. `config new` writes the heading of every section, so that says nothing."""
    return config_path is not None and bool(tomllib.loads(config_path.read_text(encoding="utf-8")).get("kafka"))


def _check_service(config: Config, identity: str, prepared_identity: str, own_lane: str | None) -> None:
    """The cluster: reachable, with the topics that are needed, and a lane that is this state's. Changes nothing."""
    import msgspec
    from kafka import TopicPartition
    from kafka.errors import KafkaError

    from consumers.kafka.clients import check_lane_rights, connected_admin, describe_topics, group_offsets, unreachable
    from consumers.kafka.marker import check_partitions, decode_marker
    from consumers.kafka.topic_specs import check_topics
    from daemon.commands.topics import wanted_topics

    kafka, specs = wanted_topics(config)
    check_lane_rights(kafka, config.topics)
    admin = connected_admin(kafka)
    try:
        differences = check_topics(admin, kafka, specs)
        offsets = {} if differences else group_offsets(admin, kafka.lane)
    except KafkaError as error:
        raise unreachable(kafka, error) from error
    finally:
        admin.close()
    if differences:
        listed = "\n".join(f"  {difference}" for difference in differences)
        raise ConfigError(
            f"the topics at {kafka.bootstrap_servers} are not as the service needs them:\n{listed}\n"
            "`curatord topics create` makes what can be made."
        )
    show(f"cluster {kafka.bootstrap_servers}: reachable, {len(specs)} topics as they should be")
    found = offsets.get(TopicPartition(config.topics.journal, 0))
    if found is None:
        show(f"lane {kafka.lane}: new")
    else:
        marker = decode_marker(found.metadata)
        if own_lane is not None and own_lane != marker.lane:
            raise ConfigError(f"the state in {config.state.dir} belongs to another lane than {kafka.lane}")
        sequences = config.topics.sequences
        num_partitions = describe_topics(kafka, [sequences])[sequences].num_partitions
        check_partitions(marker, num_partitions, topic=sequences, lane=kafka.lane)
        if msgspec.json.decode(marker.id) != msgspec.json.decode(identity):
            raise ConfigError(f"lane {kafka.lane} was made with {marker.id}, the configuration says {identity}")
        show(f"lane {kafka.lane}: at epoch {marker.e:,}, of this identity")
    if config.topics.prepared:
        _check_prepared(config, prepared_identity, offsets)
    _check_disks(config)


def _check_prepared(config: Config, identity: str, offsets: Mapping[Any, Any]) -> None:
    """Workers prepare as the lane reads. Raises `IdentityError`, `ConfigError`, `BrokerUnavailable`."""
    import pyarrow as pa
    from kafka import TopicPartition
    from kafka.errors import KafkaError

    from consumers.formats.prepared import check_schema
    from consumers.kafka.clients import check_lane_rights, connected_consumer, describe_topics, unreachable
    from consumers.kafka.parts import newest
    from consumers.kafka.rights import check_rights_of_workers

    kafka, topic = config.kafka.patient(PATIENCE_S), config.topics.prepared
    check_lane_rights(kafka, config.topics, check_rights_of_workers)
    num_partitions = describe_topics(kafka, [topic])[topic].num_partitions
    found = 0
    with connected_consumer(kafka, group_id=None) as consumer:
        for partition in (TopicPartition(topic, number) for number in range(num_partitions)):
            try:
                message, end = newest(consumer, partition, PATIENCE_S)
            except KafkaError as error:
                raise unreachable(kafka, error) from error
            if message is None:
                continue
            found += 1
            place = f"the newest message of {topic}-{partition.partition}"
            try:
                check_schema(pa.ipc.open_stream(message).schema, identity, place)
            except (pa.ArrowException, OSError) as error:
                raise StateError(f"{place} is none of `curatord prepare`: {error}") from error
            except IdentityError as error:
                if partition not in offsets or offsets[partition].offset < end:
                    raise
                show(f"warning: {error}\nThe lane is past it, so that only matters if workers still prepare so")
    show(f"topic {topic}: messages in {found} of {num_partitions} partitions; workers are the group {kafka.workers}")


def _check_disks(config: Config) -> None:
    """Say where a loss of disks would hurt."""
    if not config.state.snapshot_dir:
        show("warning: no state.snapshot_dir, so the journal is never cut and grows with the input")
        return
    places = [_existing(Path(folder)) for folder in (config.state.dir, config.state.snapshot_dir)]
    if places[0].stat().st_dev == places[1].stat().st_dev:
        show(f"warning: {config.state.snapshot_dir} is on the disk of {config.state.dir}, so the journal is never cut")


def _existing(folder: Path) -> Path:
    """The folder, or the nearest above it that is there."""
    return next(place for place in (folder.absolute(), *folder.absolute().parents) if place.exists())
