"""A scorer's life: take its share of the requests for rewards, score, send the rewards, say so to the group.

    poll ─ decode ─ newer checkpoint? ─ score ─ send ─ acknowledged? ─ commit the offsets

At least once, and with no state: after any failure the same requests are answered again, here or elsewhere, and the
lane counts the second answer as a duplicate. A request that cannot be read or scored is counted and passed.
"""

from __future__ import annotations

import math
import signal
from collections import Counter
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path

from kafka.consumer.fetcher import ConsumerRecord

from consumers.formats.probes import decode_probe
from consumers.kafka.clients import check_lane_rights, describe_topics
from consumers.kafka.probe_share import ProbeShare, RewardWriter
from consumers.kafka.rights import check_rights_of_scorers
from curation.scoring.checkpoint import Watch
from curation.scoring.scorers import INFLUENCE, PERPLEXITY, Scorers
from curatord.errors import BrokerUnavailable, ConfigError, Undecodable
from curatord.records import Probe, Reward
from daemon.config import Config, load_config
from daemon.observer import check_config, observed
from daemon.reference_texts import arrivals_in
from daemon.signals import POLL_S, StopRequest
from daemon.work import RETRY_S, work_until_stopped
from kernels.columns import join_texts
from ops.events import Events
from packing.tokenizer import Tokenizer, open_tokenizer

POLL_REQUESTS = 64
MAX_REFERENCE = 4096  # documents; more make the gradient of the reference no better


@dataclass(frozen=True, slots=True)
class Options:
    """Arguments of the command."""

    config_path: Path | None
    model: Path | None  # a checkpoint, or a folder of checkpoints
    reference: Path | None
    scorers: tuple[str, ...]
    damping: float
    device: str  # "" for a GPU where there is one


def run_scorer(options: Options) -> int:
    """Score for the lane until a stop is asked for; the exit code.

    Raises `ConfigError` if topics, rights, model or reference are missing.
    """
    config = load_config(options.config_path)
    check_options(config, options)
    with observed(config) as events:
        reference = read_reference(options.reference, config) if options.reference is not None else []
        scorers = Scorers(options.scorers, reference, damping=options.damping, failed=events.scorer_failed)
        watch = None
        if options.model is not None:
            encode = partial(first_tokens, open_tokenizer(config.tokenizer))
            watch = Watch(options.model, encode, device=options.device or default_device())
        with StopRequest(config.daemon.drain_timeout_s).installed() as stop:
            while not stop.requested:
                if not look(watch, scorers, events):
                    events.scorer_failed("checkpoint", f"there is none in {options.model} yet", is_waiting=True)
                    stop.wait(RETRY_S)
                    continue
                try:
                    share, writer = connect(config)
                except BrokerUnavailable as error:
                    events.broker_away(str(error))
                    stop.wait(RETRY_S)
                    continue
                with closing(share), closing(writer):
                    ScoringWorker(share, writer, scorers, watch, config, events).work(stop, options.config_path)
            events.draining(signal.Signals(stop.signal_number).name)
    return 0


def check_options(config: Config, options: Options) -> None:
    """Raise `ConfigError` if something is missing that these scorers need."""
    for name in ("probes", "feedback"):
        if not getattr(config.topics, name):
            raise ConfigError(
                f"topics.{name} is empty, so there are no requests to answer: name a topic in [topics], have "
                "`curatord topics create` make it, and restart the lane, which uses it then"
            )
    needs_model = {INFLUENCE, PERPLEXITY} & set(options.scorers)
    if needs_model and options.model is None:
        raise ConfigError(
            f"{' and '.join(sorted(needs_model))}: a model is needed, --model FOLDER as save_pretrained writes it"
        )
    if options.model is not None and not options.model.is_dir():
        raise ConfigError(
            f"--model {options.model} is no folder: name a checkpoint, or the folder of a trainer's checkpoints"
        )


def default_device() -> str:
    """A GPU, or the processor."""
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def first_tokens(tokenizer: Tokenizer, text: str) -> list[int]:
    """A text by the lane's tokenizer, as the trainer gets it."""
    tokens: list[int] = tokenizer.encode_batch(join_texts([text]))[0].tolist()
    return tokens


def read_reference(path: Path, config: Config) -> list[str]:
    """The texts of a file, in any format that is an input. Raises `ConfigError` if there are none."""
    arrived = arrivals_in([str(path)], config.input)
    wanted = (text for arrivals in arrived for text in arrivals.documents.texts if text.strip())
    texts = list(islice(wanted, MAX_REFERENCE))
    if not texts:
        raise ConfigError(f"--reference {path} holds no text: a file of documents, as `curatord curate` reads them")
    return texts


def connect(config: Config) -> tuple[ProbeShare, RewardWriter]:
    """Both ends. Raises `BrokerUnavailable`, or `ConfigError` if a topic is missing."""
    check_lane_rights(config.kafka, config.topics, check_rights_of_scorers)
    describe_topics(config.kafka, [config.topics.probes, config.topics.feedback])
    return ProbeShare(config.kafka, config.topics.probes), RewardWriter(config.kafka, config.topics.feedback)


class ScoringWorker:
    """One member of the group of scorers."""

    def __init__(
        self,
        share: ProbeShare,
        writer: RewardWriter,
        scorers: Scorers,
        watch: Watch | None,
        config: Config,
        events: Events,
    ) -> None:
        self._share, self._writer, self._scorers, self._watch = share, writer, scorers, watch
        self._config, self._events = config, events

    def work(self, stop: StopRequest, config_path: Path | None = None) -> None:
        """Until a stop is asked for. Raises where a restart repairs nothing."""
        check = partial(check_config, self._config, config_path, self._events)
        work_until_stopped(self.step, self._share, stop, self._events, check_config=check, is_scorer=True)

    def step(self) -> None:
        """Poll once, and answer what came. Raises `BrokerUnavailable`; then nothing of it counts."""
        look(self._watch, self._scorers, self._events)
        messages = self._share.poll(POLL_S, POLL_REQUESTS)
        if not messages:
            return
        outcomes: Counter[str] = Counter()
        probes = _decoded(messages, outcomes)
        self._writer.send(answers(self._scorers, probes, outcomes))
        self._share.commit()
        self._events.scored(outcomes)


def look(watch: Watch | None, scorers: Scorers, events: Events) -> bool:
    """Go on with a newer checkpoint, if there is one that can be loaded; whether there is any, if one is needed."""
    if watch is None:
        return True
    try:
        newer = watch.look(scorers.version)
    except ConfigError as error:
        events.scorer_failed("checkpoint", str(error))
        newer = None
    if newer is not None:
        scorers.refresh(newer)
        events.checkpoint_loaded(version=newer.version, folder=str(newer.folder))
    return scorers.checkpoint is not None


def _decoded(messages: Sequence[ConsumerRecord], outcomes: Counter[str]) -> list[Probe]:
    probes = []
    for message in messages:
        try:
            probes.append(decode_probe(message.value))
        except Undecodable:
            outcomes["unreadable"] += 1
    return probes


def answers(scorers: Scorers, probes: Sequence[Probe], outcomes: Counter[str]) -> list[Reward]:
    """The rewards of all scorers; a request without any counts as failed, one of too short a text as short."""
    rewards = scorers.score([probe.text for probe in probes])
    found = []
    for place, probe in enumerate(probes):
        values = {name: float(of_all[place]) for name, of_all in rewards.items()}
        known = {name: value for name, value in values.items() if math.isfinite(value)}
        outcomes["scored" if known else "short" if probe.num_tokens < 2 else "failed"] += 1
        found += [
            Reward(reward=value, doc_id=probe.doc_id, scorer=name, checkpoint=max(scorers.version, 0))
            for name, value in known.items()
        ]
    return found
