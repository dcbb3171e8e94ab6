"""Configuration: one TOML file, one section a part, each declared beside the part it configures.

Every option has a default. Unknown keys are refused with the nearest known one; all mistakes are reported at once;
relations between options are asserted by their owners and, across sections, here.
"""

from __future__ import annotations

import difflib
import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin

import msgspec

from consumers.formats.dead_letters import DeadLettersConfig
from consumers.formats.input_config import InputConfig
from consumers.kafka.connection import KafkaConfig
from consumers.kafka.topics import TopicsConfig
from curation.acquisition.mask import MaskConfig
from curation.acquisition.url_lists import UrlsConfig
from curation.decontamination.questions import DecontaminateConfig
from curation.dedup.exact import ExactDedupConfig
from curation.dedup.near import NearDedupConfig
from curation.dedup.passages import PassagesConfig
from curation.quality.judge import QualityConfig, check_head_name
from curation.quality.language import LanguageConfig
from curation.selection.bandit import BanditConfig
from curation.selection.mixture_config import MixtureConfig
from curation.selection.reward_sources import TARGET, check_sources
from curation.selection.rewards import FeedbackConfig
from curation.selection.target import TargetConfig
from curation.selection.weighing import WeightsConfig
from curation.topics.clusters import ClustersConfig
from curation.vectors.embedding_config import EmbeddingConfig
from curatord.errors import ConfigError
from daemon.stages.probes import ProbesConfig
from ops.log import LogConfig
from ops.server import MetricsConfig
from packing.packing_config import PackingConfig
from packing.tokenizer import TokenizerConfig
from state.snapshot import StateConfig


class DaemonConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """[daemon]: how the process works. None of it changes what comes out."""

    processes: Annotated[int, msgspec.Meta(ge=0, le=256)] = 0
    """Processes that decode, measure and tokenize documents before they are decided; 0 does it in this process."""
    poll_documents: Annotated[int, msgspec.Meta(ge=1, le=100_000)] = 256
    """Most documents that go through the stages together; a few hundred stay in the processor's cache."""
    epoch_documents: Annotated[int, msgspec.Meta(ge=1, le=10_000_000)] = 5000
    """Documents after which a commit is made."""
    epoch_s: Annotated[float, msgspec.Meta(gt=0, le=3600)] = 0.5
    """Seconds after which a commit is made although fewer documents came; four times as many while more wait."""
    drain_timeout_s: Annotated[float, msgspec.Meta(gt=0, le=3600)] = 30.0
    """Seconds that the service may take to commit and leave after it was asked to stop; then it ends as it is."""


class OutputConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """[output]: what is written."""

    holdout: Annotated[float, msgspec.Meta(ge=0, lt=1)] = 0.0
    """Share of the accepted documents, by hash of their id, that go to `holdout/` as text and never to training."""
    seed: Annotated[int, msgspec.Meta(ge=0, le=(1 << 63) - 1)] = 0
    """Seed of every random choice: shuffling, sampling, holding out. The same seed gives the same output."""
    max_wait_s: Annotated[float, msgspec.Meta(gt=0)] = 300.0
    """Seconds without input after which the service lets everything go out that it holds."""


class DedupConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """[dedup.exact], [dedup.near] and [dedup.passages]."""

    exact: ExactDedupConfig = ExactDedupConfig()
    """Equal texts and addresses."""
    near: NearDedupConfig = NearDedupConfig()
    """Nearly equal texts."""
    passages: PassagesConfig = PassagesConfig()
    """Parts of texts that earlier ones have."""


class Config(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The whole file."""

    daemon: DaemonConfig = DaemonConfig()
    """How the process works."""
    input: InputConfig = InputConfig()
    """What comes in."""
    dead_letters: DeadLettersConfig = DeadLettersConfig()
    """What cannot be read."""
    mask: MaskConfig = MaskConfig()
    """What is personal or secret, and does not stay."""
    output: OutputConfig = OutputConfig()
    """What goes out."""
    urls: UrlsConfig = UrlsConfig()
    """Which addresses are not wanted."""
    dedup: DedupConfig = DedupConfig()
    """What was seen before."""
    quality: QualityConfig = QualityConfig()
    """Rules of quality."""
    decontaminate: DecontaminateConfig = DecontaminateConfig()
    """Questions of evaluation sets that must not be learned."""
    language: LanguageConfig = LanguageConfig()
    """Languages to keep."""
    tokenizer: TokenizerConfig = TokenizerConfig()
    """Text to token ids."""
    embedding: EmbeddingConfig = EmbeddingConfig()
    """Documents to vectors."""
    clusters: ClustersConfig = ClustersConfig()
    """Vectors to topics."""
    target: TargetConfig = TargetConfig()
    """Which documents are wanted."""
    bandit: BanditConfig = BanditConfig()
    """Which topics to sample."""
    feedback: FeedbackConfig = FeedbackConfig()
    """What trainers say of topics."""
    probes: ProbesConfig = ProbesConfig()
    """Which rewards are asked for."""
    mixture: MixtureConfig = MixtureConfig()
    """How topics and sources are balanced."""
    weights: WeightsConfig = WeightsConfig()
    """How much each document counts in the loss."""
    packing: PackingConfig = PackingConfig()
    """Documents to sequences."""
    kafka: KafkaConfig = KafkaConfig()
    """The cluster of the service."""
    topics: TopicsConfig = TopicsConfig()
    """Where the service reads and writes."""
    state: StateConfig = StateConfig()
    """Where the service keeps its state."""
    metrics: MetricsConfig = MetricsConfig()
    """Where the service answers probes and Prometheus."""
    log: LogConfig = LogConfig()
    """What the service writes about itself."""

    def __post_init__(self) -> None:
        check_sources(self.bandit.reward, self.head_names, has_target=bool(self.target.files))
        self._check_heads()
        if TARGET in self.weights.by and not self.target.files:
            raise ValueError('weights.by names "target": say in target.files which documents are wanted')
        if self.topics.probes and not self.bandit.enabled:
            raise ValueError(
                f"topics.probes = {self.topics.probes!r} is for requests of the bandit, which is off: set "
                "bandit.enabled = true, or leave topics.probes empty"
            )

    @property
    def head_names(self) -> frozenset[str]:
        """Names of all heads: models, and scores that documents bring along."""
        return frozenset((*self.quality.heads, *self.input.fields.scores))

    def _check_heads(self) -> None:
        """Raise ValueError where heads and scores of the input do not fit together."""
        for name in self.input.fields.scores:
            try:
                check_head_name(name)
            except ValueError as error:
                raise ValueError(f"input.fields.scores: {error}") from error
        for name, head in self.quality.heads.items():
            if head.file and name in self.input.fields.scores:
                raise ValueError(
                    f"quality.heads.{name} has a file, and [input.fields] scores gives it a field: leave one out"
                )
            if not head.file and name not in self.input.fields.scores:
                raise ValueError(
                    f"quality.heads.{name} has no score: name a model in its `file`, or a field that brings it along, "
                    f'[input.fields] scores = {{ {name} = "FIELD" }}'
                )

    @property
    def makes_vectors(self) -> bool:
        """Whether anything reads vectors and clusters. If not, no document gets any, and no teacher is loaded."""
        is_similar = self.target.by == "similarity"
        return self.packing.mode == "sculpt" or self.bandit.enabled or is_similar or not self.mixture.passes_through()


def check_endless(config: Config) -> None:
    """Raise `ConfigError` for options that need an input with an end, which a topic has not."""
    if config.mixture.orders_corpus():
        raise ConfigError(
            f'mixture.schedule = "{config.mixture.schedule}" with rho = 1 and max_uses = 1 orders documents when the '
            "input has ended, and a topic has no end: lower rho or raise max_uses, then shares go from one end to the "
            "other within schedule_tokens; or curate files"
        )


NO_VECTORS = 'no vectors and no clusters, for nothing reads them: packing.mode = "best_fit", no bandit, no mixture'


# Options of earlier versions, and what takes their place.
_RENAMED = {
    "daemon.threads": "daemon.processes says how many processes prepare documents, 0 for none beside the loop",
}


def load_config(path: Path | None) -> Config:
    """The configuration in a file; all defaults without one. Raises `ConfigError` listing every mistake."""
    if path is None:
        return Config()
    try:
        tree = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not TOML: {error}") from error
    return parse_config(tree, str(path))


def parse_config(tree: dict[str, Any], origin: str) -> Config:
    """A tree of sections as a `Config`. Raises `ConfigError`."""
    problems: list[str] = []
    config = _decode(tree, Config, "", problems)
    if problems:
        listed = "\n".join(f"  - {problem}" for problem in problems)
        raise ConfigError(f"{origin} cannot be used:\n{listed}\n`curatord config show` prints every option.")
    assert isinstance(config, Config)
    return config


def _decode(tree: dict[str, Any], kind: type[msgspec.Struct], path: str, problems: list[str]) -> msgspec.Struct | None:
    """One section, field by field, so that all mistakes are found and not only the first."""
    known = {field.name: field for field in msgspec.structs.fields(kind)}
    values: dict[str, Any] = {}
    failed = False
    for name, value in tree.items():
        here = f"{path}.{name}" if path else name
        if here in _RENAMED:
            problems.append(f"{here} is no option any more; {_RENAMED[here]}")
            failed = True
            continue
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            problems.append(f"{here} is no option" + (f"; did you mean {near[0]}?" if near else _listed(known)))
            failed = True
            continue
        wanted = known[name].type
        if isinstance(wanted, type) and issubclass(wanted, msgspec.Struct):
            if not isinstance(value, dict):
                problems.append(f"{here} is a section: write [{here}] and its options below it")
                failed = True
                continue
            values[name] = _decode(value, wanted, here, problems)
            failed = failed or values[name] is None
            continue
        try:
            values[name] = msgspec.convert(value, wanted)
        except msgspec.ValidationError as error:
            problems.append(f"{here} = {value!r}: {error}{_choices(wanted)}")
            failed = True
    if failed:
        return None
    try:
        return kind(**values)
    except ValueError as error:
        message = str(error)
        problems.append(message if not path or message.startswith(path) else f"[{path}] {message}")
        return None


def _choices(wanted: Any) -> str:
    """The values that an option with a closed set of them takes."""
    choices = get_args(wanted) if get_origin(wanted) is Literal else ()
    return f"; choose one of {', '.join(map(repr, choices))}" if choices else ""


def _listed(known: dict[str, Any]) -> str:
    return f"; there are: {', '.join(sorted(known))}"


def show_config(config: msgspec.Struct, *, comments: bool) -> str:
    """The configuration as TOML; with comments, what each option means, as a file to start from."""
    lines: list[str] = []
    _show(config, "", comments, lines)
    return "\n".join(lines).strip() + "\n"


def changed_options(before: Config, after: Config) -> list[str]:
    """Names of the options that differ, as `section.option`."""

    def flat(section: msgspec.Struct, path: str) -> dict[str, Any]:
        options: dict[str, Any] = {}
        for field in msgspec.structs.fields(section):
            value = getattr(section, field.name)
            here = f"{path}.{field.name}" if path else field.name
            options |= flat(value, here) if isinstance(value, msgspec.Struct) else {here: value}
        return options

    old, new = flat(before, ""), flat(after, "")
    return [name for name, value in new.items() if old[name] != value]


def _show(section: msgspec.Struct, path: str, comments: bool, lines: list[str]) -> None:
    fields = [(field.name, getattr(section, field.name)) for field in msgspec.structs.fields(type(section))]
    plain = [(name, value) for name, value in fields if not isinstance(value, msgspec.Struct)]
    texts = field_texts(type(section)) if comments else {}
    if plain:
        lines.append(f"[{path}]")
        for name, value in plain:
            lines += [f"# {line}" for line in texts.get(name, "").splitlines()]
            if value is None:
                lines += [f"# {name} is unset"] if comments else []
                continue
            line = f"{name} = {toml_value(value)}"
            lines.append(f"# {line}" if comments else line)
        lines.append("")
    for name, value in fields:
        if isinstance(value, msgspec.Struct):
            _show(value, f"{path}.{name}" if path else name, comments, lines)


def toml_value(value: object) -> str:
    """A value in TOML's spelling."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{toml_value(str(k))} = {toml_value(v)}" for k, v in value.items()) + "}"
    if isinstance(value, msgspec.Struct):
        named = {name: getattr(value, name) for name in value.__struct_fields__}
        return toml_value({name: inner for name, inner in named.items() if inner is not None})
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(toml_value(item) for item in value) + "]"
    return msgspec.json.encode(value).decode()


def field_texts(kind: type[msgspec.Struct]) -> dict[str, str]:
    """The sentence below each field, read from the source, which is the only place where it stands."""
    import ast
    import inspect
    import textwrap

    body = ast.parse(textwrap.dedent(inspect.getsource(kind))).body[0]
    assert isinstance(body, ast.ClassDef)
    texts = {}
    for statement, below in zip(body.body, body.body[1:], strict=False):
        match statement, below:
            case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(text))):
                texts[name] = inspect.cleandoc(text)
    return texts
