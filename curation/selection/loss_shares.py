"""Shares from losses: how much of each domain, a source or a cluster, goes out, by what its loss does.

Each tick that brings losses makes one step. All rules know a prior μ, the natural shares times the weights of the
file, and keep a least share:

- `ado` (Jiang et al., 2025): to each domain a power law of its loss over its tokens is fitted; its share follows
  μ · sqrt(w̄) · (fall of the loss for a token more), with w̄ its mean share so far, for what is trained on much teaches
  the others, too. Shares move by a tenth a step.
- `odm` (Albalak et al., 2023): Exp3 on the smoothed loss: more of what is hard, exploring less and less.
- `doremi` (Xie et al., 2023): shares grow by exp(η · excess) with the excess of the loss over a reference model's.
- `velocitune` (Luo et al., 2024): shares grow by exp(velocity), the part of the way from the first loss to a target
  that is still to go.

A domain without losses keeps its prior share. Clusters that split, merge or are born hand on amounts and shares, so
that the mixture goes on (Olmix: Chen et al., 2026). The first run that reports is followed until another one has
reported for long without it: levels of two models are no curve.

Shape legend: N points of a curve.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Literal

import msgspec
import numpy as np

from curation.selection.power_law import fit_power_laws
from state.fact_table import FactCell, FactOwner, FactTable, Table
from state.facts import TEXT, Facts, Family, packed, single

Rule = Literal["none", "ado", "odm", "doremi", "velocitune"]

LEAST_SHARE = 0.01  # of any domain; of more than ten a tenth of an equal share
SPEED = 0.1  # of the way to the new shares that ado goes in a step
PATIENCE = 12  # steps before ado trusts its laws
SMOOTHING = 0.9  # of the loss that odm looks at
STEP = 0.05  # by which doremi and velocitune take excess and velocity
REFIT = 10  # steps for which the laws of ado hold
MAX_POINTS = 64  # of a curve; then neighbours become one, the oldest first
MAX_SILENT = 512  # reports of other runs without one of the run that is followed
MAX_LOSS = 20.0


class _Domain(msgspec.Struct, array_like=True):
    """One source or cluster."""

    share: float  # w
    mean_share: float  # w̄
    amount: float = 0.0  # targets that were trained on
    amounts: list[float] = []
    losses: list[float] = []
    weights: list[float] = []  # steps that a point stands for
    smoothed: float = 0.0
    first: float = math.nan  # loss of its first step
    scale: float = math.nan  # of its law; NaN while it has none
    exponent: float = math.nan
    fresh_loss: float = 0.0  # summed since the last tick, and of how many targets
    fresh_targets: float = 0.0

    def step(self) -> bool:
        """Take in the losses since the last tick; whether there were any."""
        if not self.fresh_targets:
            return False
        loss = min(self.fresh_loss / self.fresh_targets, MAX_LOSS)
        self.amounts = [*self.amounts, self.amount + self.fresh_targets / 2]
        self.losses, self.weights = [*self.losses, loss], [*self.weights, 1.0]
        self.amount += self.fresh_targets
        self.smoothed = SMOOTHING * self.smoothed + (1 - SMOOTHING) * loss
        self.first = loss if math.isnan(self.first) else self.first
        self.fresh_loss = self.fresh_targets = 0.0
        if len(self.losses) > MAX_POINTS:
            self._thin()
        return True

    def fall(self) -> float:
        """How much its loss falls for a token more, `α β n^(-α - 1)`; NaN while it has no law."""
        return float(self.exponent * self.scale * max(self.amount, 1.0) ** (-self.exponent - 1.0))

    def _thin(self) -> None:
        """Make one of the two neighbours that are nearest to each other on the logarithmic scale of the law."""
        logs_N = np.log(self.amounts)
        at = int(np.argmin(np.diff(logs_N)))
        together = self.weights[at] + self.weights[at + 1]
        for points in (self.amounts, self.losses):
            points[at] = (self.weights[at] * points[at] + self.weights[at + 1] * points[at + 1]) / together
            del points[at + 1]
        self.weights[at] = together
        del self.weights[at + 1]


def _fit(domains: Sequence[_Domain]) -> None:
    """The laws of all curves."""
    points_KN3 = np.zeros((len(domains), MAX_POINTS, 3))
    for place, domain in enumerate(domains):
        points_KN3[place, : len(domain.losses)] = np.array([domain.amounts, domain.losses, domain.weights]).T
    _, scales_K, exponents_K = fit_power_laws(points_KN3[..., 0], points_KN3[..., 1], points_KN3[..., 2])
    for domain, scale, exponent in zip(domains, scales_K.tolist(), exponents_K.tolist(), strict=True):
        domain.scale, domain.exponent = scale, exponent


class _Whole(msgspec.Struct, array_like=True):
    steps: int = 0
    run_id: str = ""
    silent: int = 0  # reports of other runs since the last one of this


_WHOLE = single("loss_shares", packed(_Whole))
_DOMAINS = Facts(Family("loss_shares", "share and curve of loss of a source or cluster"), TEXT, packed(_Domain))


class LossShares(FactOwner):
    """Domains by name. `losses` are those of a reference model (doremi), or targets (velocitune), in nats."""

    def __init__(self, rule: Rule, losses: Mapping[str, float]) -> None:
        self._rule, self._losses = rule, losses
        self._cell = FactCell(_WHOLE, _Whole())
        self._domains = FactTable(_DOMAINS)

    def tables(self) -> tuple[Table, ...]:
        """All that is known of domains."""
        return self._cell, self._domains

    @property
    def is_on(self) -> bool:
        """Whether shares follow losses."""
        return self._rule != "none"

    @property
    def shares(self) -> dict[str, float]:
        """The share of each domain that is known."""
        return {name: domain.share for name, domain in self._domains.items()}

    def observe(self, run_id: str, sums: Mapping[str, tuple[float, int]]) -> None:
        """Summed losses and numbers of targets by domain, of one report."""
        whole = self._cell.value
        whole.silent = 0 if whole.run_id == run_id else whole.silent + 1
        if not whole.run_id or whole.silent > MAX_SILENT:
            self._follow(run_id)
        if whole.run_id != run_id:
            return
        for name, (loss, targets) in sums.items():
            domain = self._domains.setdefault(name, _Domain(0.0, 0.0))
            domain.fresh_loss += loss
            domain.fresh_targets += targets
            self._domains.touch(name)

    def _follow(self, run_id: str) -> None:
        """Begin with a run, whose curves are its own; shares go on from where they are."""
        whole = self._cell.value
        whole.run_id, whole.silent, whole.steps = run_id, 0, 0
        for name, domain in self._domains.items():
            self._domains[name] = _Domain(domain.share, domain.share)

    def step(self, prior: Mapping[str, float]) -> dict[str, float]:
        """The tick: the shares from now on, of all domains of the prior, which adds up to 1."""
        for name in [name for name in self._domains if name not in prior]:
            del self._domains[name]
        for name, share in prior.items():
            domain = self._domains.setdefault(name, _Domain(0.0, 0.0))
            if not domain.share:
                domain.share = domain.mean_share = share
                self._domains.touch(name)
        heard = [name for name, domain in self._domains.items() if domain.step()]
        if heard:
            self._cell.value.steps += 1
            self._move(prior)
        return self.shares

    def _move(self, prior: Mapping[str, float]) -> None:
        """One step of the rule, over the domains that it can say something of; the others get their prior."""
        known = {name: domain for name, domain in sorted(self._domains.items()) if domain.losses}
        wanted = {"ado": self._ado, "odm": self._odm, "doremi": self._doremi, "velocitune": self._velocitune}[
            self._rule
        ](known, prior)
        room = sum(prior[name] for name in wanted)
        total = sum(wanted.values())
        goal = {name: wanted[name] / total * room if name in wanted else prior[name] for name in prior}
        speed = SPEED if self._rule == "ado" else 1.0
        moved = {name: (1 - speed) * self._domains[name].share + speed * share for name, share in goal.items()}
        for name, share in floored(moved).items():
            domain = self._domains[name]
            domain.share = share
            domain.mean_share += (share - domain.mean_share) / (self._cell.value.steps + 1)
            self._domains.touch(name)

    def _ado(self, known: Mapping[str, _Domain], prior: Mapping[str, float]) -> dict[str, float]:
        if self._cell.value.steps < PATIENCE:
            return {}
        steps = self._cell.value.steps
        if steps % REFIT == 0 or steps == PATIENCE:
            _fit(list(known.values()))
        falls_K = np.array([domain.fall() for domain in known.values()])
        if np.isnan(falls_K).all():
            return {}
        # A loss that does not fall gets a trace of the largest share, or the least one.
        falls_K = np.where(np.isnan(falls_K), 1e-3 * np.nanmax(falls_K), falls_K)
        return {
            name: prior[name] * math.sqrt(max(domain.mean_share, 1e-3)) * fall
            for (name, domain), fall in zip(known.items(), falls_K.tolist(), strict=True)
        }

    def _odm(self, known: Mapping[str, _Domain], prior: Mapping[str, float]) -> dict[str, float]:
        number, steps = len(known), self._cell.value.steps
        explores = [
            min(1 / number, math.sqrt(math.log(max(number, 2)) / (number * max(t, 1)))) for t in (steps, steps - 1)
        ]
        largest = max(domain.smoothed for domain in known.values())
        powers = {name: math.exp(explores[1] * (domain.smoothed - largest)) for name, domain in known.items()}
        total = sum(powers.values())
        return {name: (1 - number * explores[0]) * power / total + explores[0] for name, power in powers.items()}

    def _doremi(self, known: Mapping[str, _Domain], prior: Mapping[str, float]) -> dict[str, float]:
        return {
            name: domain.share * math.exp(STEP * max(domain.losses[-1] - self._losses[name], 0.0))
            for name, domain in known.items()
            if name in self._losses
        }

    def _velocitune(self, known: Mapping[str, _Domain], prior: Mapping[str, float]) -> dict[str, float]:
        found = {}
        for name, domain in known.items():
            way = domain.first - self._losses.get(name, math.nan)
            if way > 0:
                velocity = min(max((domain.losses[-1] - self._losses[name]) / way, 0.0), 1.0)
                found[name] = domain.share * math.exp(STEP * velocity)
        return found

    def split(self, parent_id: int, child_ids: Sequence[int]) -> None:
        """The children share equally in what their parent had, and go on with its curve."""
        parent, children = f"cluster:{parent_id}", [f"cluster:{child}" for child in child_ids]
        if parent not in self._domains or not children:
            return
        domain, number = self._domains.pop(parent), len(children)
        for child in children:
            self._domains[child] = msgspec.structs.replace(
                domain,
                share=domain.share / number,
                mean_share=domain.mean_share / number,
                amount=domain.amount / number,
                amounts=[amount / number for amount in domain.amounts],
                fresh_loss=domain.fresh_loss / number,
                fresh_targets=domain.fresh_targets / number,
            )

    def merged(self, winner_id: int, loser_ids: Sequence[int]) -> None:
        """The winner has the shares and amounts of all, and the curve of the one that was trained on most."""
        winner = f"cluster:{winner_id}"
        together = dict.fromkeys((winner, *(f"cluster:{loser}" for loser in loser_ids)))
        names = [name for name in together if name in self._domains]
        if not names:
            return
        domains = [self._domains.pop(name) for name in names]
        most = max(domains, key=lambda domain: domain.amount)
        amount = sum(domain.amount for domain in domains)
        grown = amount / most.amount if most.amount else 1.0
        self._domains[winner] = msgspec.structs.replace(
            most,
            share=sum(domain.share for domain in domains),
            mean_share=sum(domain.mean_share for domain in domains),
            amount=amount,
            amounts=[grown * each for each in most.amounts],
            fresh_loss=sum(domain.fresh_loss for domain in domains),
            fresh_targets=sum(domain.fresh_targets for domain in domains),
        )


def floored(shares: Mapping[str, float]) -> dict[str, float]:
    """Shares that add up to 1, none below the least one; the rest in proportion.

    >>> {name: round(share, 4) for name, share in floored({"a": 0.0, "b": 3.0, "c": 1.0}).items()}
    {'a': 0.01, 'b': 0.7425, 'c': 0.2475}
    """
    least = min(LEAST_SHARE, 0.1 / max(len(shares), 1))
    low: set[str] = set()
    while True:
        room = 1.0 - least * len(low)
        total = sum(share for name, share in shares.items() if name not in low)
        found = {name: least if name in low else share * room / total for name, share in shares.items()}
        below = {name for name, share in found.items() if share < least}
        if not below:
            return found
        low |= below
