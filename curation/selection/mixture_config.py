"""The section [mixture]."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from curation.selection.loss_shares import Rule

Schedule = Literal["static", "g2s", "s2g"]
CLUSTER_PREFIX = "cluster:"
REST = "*"


class MixtureConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The section [mixture]."""

    rho: Annotated[float, msgspec.Meta(gt=0)] = 1.0
    """Output tokens per input token: below 1 documents are selected, above 1 they are repeated. With the
    bandit on it counts what the bandit admitted: rho = 0.5 and keep_ratio = 0.5 give out a quarter."""
    max_uses: Annotated[int, msgspec.Meta(ge=1)] = 1
    """Most times that any document is ever emitted."""
    weights: dict[str, Annotated[float, msgspec.Meta(gt=0)]] = {}
    """Relative share of tokens by source pattern ("wiki*", the first that matches; "*" for the rest, else 1) or by
    "cluster:ID" within a source (else 1)."""
    later: dict[str, dict[str, Annotated[float, msgspec.Meta(gt=0)]]] = {}
    """Weights from a number of emitted tokens on, by that number: {"300_000_000" = {"code" = 3}}. Sources are those of
    weights; one that is not named keeps the weight that it had."""
    rule: Rule = "none"
    """Shares that follow the losses of a trainer: "ado" where loss falls fastest for a token more, the safe choice;
    "odm" where it is high, "doremi" where it is above `losses`, "velocitune" where it is far from them. On a short
    stream of nine domains ado over clusters was as good as random thinning, and no better (record 51)."""
    over: Literal["sources", "clusters"] = "sources"
    """Parts that have losses of their own with a rule: the source patterns of weights, or clusters. Their natural
    shares times their weights are the beginning."""
    losses: dict[str, Annotated[float, msgspec.Meta(ge=0)]] = {}
    """Losses in nats a token, by source pattern or "cluster:ID": those of a reference model for doremi, and the
    targets that are to be reached for velocitune."""
    schedule: Schedule = "static"
    """Clusters share by size_power (static), first equally and later by their size (g2s), or the reverse (s2g). Over
    files with rho = 1 and max_uses = 1 every document goes out once, at the end of the input: a document of each
    cluster that has one left, round after round (g2s as published), or the reverse.
    All tokens wait in memory until then."""
    size_power: Annotated[float, msgspec.Meta(ge=0, le=1)] = 0.5
    """Growth of a cluster's share with its size: 0 gives every cluster as many tokens (ClusterClip), 1 as many as come.
    Equal shares lost against random thinning in held-out loss, for junk has clusters of its own; 0.5 did not."""
    schedule_tokens: Annotated[int, msgspec.Meta(ge=1)] = 1_000_000_000
    """Emitted tokens within which g2s or s2g goes from one end to the other."""
    buffer_documents: Annotated[int, msgspec.Meta(ge=1)] = 64
    """Most documents held for each cluster of each weighted source. Of a finite input that fits, the first go out."""
    gap: Annotated[int, msgspec.Meta(ge=1)] = 512
    """Least number of emissions from one use of a document to the next."""
    half_life_tokens: Annotated[int, msgspec.Meta(ge=1)] = 50_000_000
    """Emitted tokens after which past service counts half."""

    def __post_init__(self) -> None:
        if self.rho > self.max_uses:
            raise ValueError(
                f"mixture.rho = {self.rho} cannot be reached with mixture.max_uses = {self.max_uses}: "
                "a document would have to go out more often; lower rho or raise max_uses"
            )
        if self.rule in ("doremi", "velocitune") and not self.losses:
            raise ValueError(
                f'mixture.rule = "{self.rule}" compares with mixture.losses, which is empty: name a loss each'
            )
        if self.gives_each_once() and (self.weights or self.rule != "none"):
            raise ValueError(
                "mixture.weights and rule choose between documents, but with rho = 1 and max_uses = 1 "
                "every document goes out once: lower rho or raise max_uses"
            )
        for since, weights in self.later.items():
            if not since.replace("_", "").isdecimal():
                raise ValueError(f"mixture.later: {since!r} must be a number of emitted tokens, as in '300_000_000'")
            unknown = [
                name for name in weights if name not in self.weights and not name.startswith((CLUSTER_PREFIX, REST))
            ]
            if unknown:
                raise ValueError(
                    f"mixture.later: {unknown[0]!r} is no source of mixture.weights: give it a weight there, too"
                )
        for name, weight in self.weights.items():
            if not weight > 0:
                raise ValueError(f"mixture.weights: {name!r} must be above 0; to leave a source out, do not feed it")
            if name.startswith(CLUSTER_PREFIX) and not name.removeprefix(CLUSTER_PREFIX).isdecimal():
                raise ValueError(f"mixture.weights: {name!r} must end in a cluster number, as in 'cluster:7'")

    def gives_each_once(self) -> bool:
        """Every document goes out once, and nothing is to be balanced."""
        return self.rho == 1 and self.max_uses == 1

    def passes_through(self) -> bool:
        """Every document goes out once and at once."""
        return self.gives_each_once() and self.schedule == "static"

    def orders_corpus(self) -> bool:
        """Every document goes out once, when the input has ended."""
        return self.gives_each_once() and self.schedule != "static"
