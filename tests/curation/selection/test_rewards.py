"""Rewards: a trainer of known losses moves the bandit to where they still fall, however its reports come."""

from __future__ import annotations

import random
import sys
from collections import Counter, deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from curation.selection.bandit import Bandit, BanditConfig
from curation.selection.loss_curves import Curve, Losses, Sums, progress_rewards, sums_by_cluster
from curation.selection.rewards import MAX_RUNS, SEEN_STEPS, ArmReward, FeedbackConfig, Rewards
from curatord.records import Feedback
from tests.kept import Kept, changes_of

NUM_CLUSTERS = 8
LEARNABLE = (4, 5, 6, 7)
TICK_DOCUMENTS = 512
STEP_DOCUMENTS = 64
HALF_LIFE = 60


def report(run_id: str = "run", step: int = 0, rank: int = 0, *, world: int = 64, skipped: bool = False) -> Feedback:
    """Says when and who; the losses go to `observe` apart, joined with where their documents came from."""
    return Feedback(
        run_id=run_id,
        step=step,
        rank=rank,
        world=world,
        policy_version_min=0,
        policy_version_max=0,
        generation=0,
        first_seq_no=0,
        stride=1,
        num_segments=b"",
        sum_nll=b"",
        num_targets=b"",
        skipped=skipped,
    )


def losses_of(documents: list[tuple[int, float]], loss_of: Callable[[int], float]) -> Losses:
    """Documents as (cluster, propensity), 500 targets each."""
    return Losses(
        clusters_S=np.array([cluster for cluster, _ in documents], np.int32),
        losses_S=np.array([loss_of(cluster) for cluster, _ in documents], np.float64),
        num_targets_S=np.full(len(documents), 500),
        propensities_S=np.array([propensity for _, propensity in documents]),
    )


def facts(rewards: Rewards) -> dict[bytes, bytes | None]:
    """Changes of the feedback, but for the counters."""
    return {key: value for family, key, value in changes_of(rewards) if family == "feedback"}


def same(cluster: int) -> int:
    return cluster


def nowhere(doc_no: int) -> None:
    return None


def take(rewards: Rewards) -> list[ArmReward]:
    return rewards.take(same, nowhere, last_doc_no=sys.maxsize)


@dataclass
class FakeTrainer:
    """Takes admitted documents in their order, and reports their losses `delay` steps late.

    The loss of a cluster falls exponentially with the steps, or not at all; a document's own deviates by 0.5 nat.
    """

    curves: dict[int, Callable[[float], float]]
    delay: int = 0
    num_ranks: int = 1
    duplicated: float = 0.0
    lost: float = 0.0
    seed: int = 0
    step: int = 0
    topic: deque[tuple[int, float]] = field(default_factory=deque)
    reports: list[tuple[int, Feedback, Losses]] = field(default_factory=list)
    trained: Counter[int] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self._random = random.Random(self.seed)
        self._noise = np.random.default_rng(self.seed)

    def train(self) -> Iterator[tuple[Feedback, Losses]]:
        """All steps that the topic has documents for; the reports that have arrived by now, out of order."""
        while len(self.topic) >= STEP_DOCUMENTS:
            for rank in range(self.num_ranks):
                documents = [self.topic.popleft() for _ in range(STEP_DOCUMENTS // self.num_ranks)]
                losses = losses_of(documents, self._loss)
                copies = 0 if self._random.random() < self.lost else 1 + (self._random.random() < self.duplicated)
                for _ in range(copies):
                    due = self.step + self.delay + (self._random.randrange(5) if self.delay else 0)
                    self.reports.append((due, report(step=self.step, rank=rank, world=self.num_ranks), losses))
            self.step += 1
        arrived = [(record, losses) for due, record, losses in self.reports if due < self.step]
        self.reports = [late for late in self.reports if late[0] >= self.step]
        self._random.shuffle(arrived)
        yield from arrived

    def _loss(self, cluster: int) -> float:
        return max(0.0, self.curves[cluster](self.step) + self._noise.normal(0, 0.5))


def falling(tau: float, height: float = 1.5) -> Callable[[float], float]:
    return lambda step: 3.0 + height * float(np.exp(-step / tau))


def flat(level: float) -> Callable[[float], float]:
    return lambda step: level


def admitted_shares(trainer: FakeTrainer, num_ticks: int, seed: int = 0) -> np.ndarray:
    """The share of each cluster among the admitted documents of each tick, (ticks, clusters)."""
    bandit = Bandit(BanditConfig(enabled=True, reward=("progress",), discount=0.95), seed=seed)
    rewards = Rewards(FeedbackConfig(half_life_steps=HALF_LIFE))
    rng = np.random.default_rng(seed)
    shares = []
    for _ in range(num_ticks):
        clusters_B = rng.integers(0, NUM_CLUSTERS, TICK_DOCUMENTS).astype(np.int32)
        keys_B = rng.integers(0, 2**63, TICK_DOCUMENTS).astype(np.uint64)
        admission = bandit.sample(clusters_B, keys_B, np.full(TICK_DOCUMENTS, 500))
        for reward in take(rewards):
            bandit.reward(reward.cluster, reward.value, reward.count)
        bandit.tick()
        admitted_B = admission.admitted_B
        trainer.topic += zip(
            clusters_B[admitted_B].tolist(), admission.propensities_B[admitted_B].tolist(), strict=True
        )
        for record, losses in trainer.train():
            if rewards.admit(record):
                rewards.observe(record.run_id, record.step, losses)
        shares.append(np.bincount(clusters_B[admitted_B], minlength=NUM_CLUSTERS) / admitted_B.sum())
    return np.array(shares)


# Losses at any level, high or low: a level is no progress.
CURVES = {
    **{cluster: flat(1.5 + cluster) for cluster in range(4)},
    **{cluster: falling(400.0, 2.0 - 0.1 * cluster) for cluster in LEARNABLE},
}


@pytest.mark.parametrize("delay", [0, 10, 100])
@pytest.mark.parametrize(
    "disturbances",
    [{}, {"duplicated": 0.3, "lost": 0.3}, {"num_ranks": 2, "duplicated": 0.2, "lost": 0.2}],
    ids=["quiet", "duplicated and lost", "two ranks"],
)
def test_shares_move_to_the_clusters_whose_loss_still_falls(delay: int, disturbances: dict[str, float]) -> None:
    trainer = FakeTrainer(CURVES, delay=delay, **disturbances)  # type: ignore[arg-type]
    shares = admitted_shares(trainer, num_ticks=120)
    assert shares[0, list(LEARNABLE)].sum() == pytest.approx(0.5, abs=0.1)
    assert shares[60:, list(LEARNABLE)].sum(axis=1).mean() > 0.8


def test_shares_follow_when_one_cluster_has_learned_and_another_begins_to() -> None:
    early, late = (0, 1, 2, 3), (4, 5, 6, 7)
    curves = {
        **{cluster: lambda step: 3.0 + 1.5 * float(np.exp(-step / 60)) for cluster in early},
        **{cluster: lambda step: 4.5 - 0.005 * min(max(step - 200, 0), 400) for cluster in late},
    }
    shares = admitted_shares(FakeTrainer(curves, delay=10), num_ticks=130)
    assert shares[12:25, list(early)].sum(axis=1).mean() > 0.7
    assert shares[80:, list(late)].sum(axis=1).mean() > 0.8


def test_a_trainer_that_learns_everything_alike_favours_nothing_for_long() -> None:
    shares = admitted_shares(FakeTrainer({cluster: falling(400.0) for cluster in range(NUM_CLUSTERS)}), num_ticks=150)
    assert shares.mean(axis=0) == pytest.approx(1 / NUM_CLUSTERS, abs=0.06)


class OwnTrainer(FakeTrainer):
    """The loss of a cluster falls with its own documents alone, alike for all."""

    def _loss(self, cluster: int) -> float:
        self.trained[cluster] += 1
        return max(0.0, self.loss(cluster) + self._noise.normal(0, 0.5))

    def loss(self, cluster: int) -> float:
        return 3.0 + 1.5 * float(np.exp(-self.trained[cluster] / 1500))


@pytest.mark.parametrize("seed", [0, 1])
def test_a_cluster_at_the_floor_is_not_left_there_because_it_learns_little_there(seed: int) -> None:
    trainer = OwnTrainer(CURVES, delay=10, seed=seed)
    admitted_shares(trainer, num_ticks=150, seed=seed)
    # By the fall itself, not that per admitted document, the worst ends above 3.8.
    assert max(trainer.loss(cluster) for cluster in range(NUM_CLUSTERS)) < 3.5


def test_the_steps_of_a_line_may_come_in_any_order() -> None:
    steps = [(step, Sums(2.0, 4.0, 1.0, 2.0 * (5 - 0.01 * step), 2.0 * (5 - 0.01 * step) ** 2)) for step in range(50)]
    in_order, shuffled = Curve(0), Curve(0)
    for step, sums in steps:
        in_order.add(step, sums, 20)
    for step, sums in random.Random(0).sample(steps, 50):
        shuffled.add(step, sums, 20)
    assert msgspec.to_builtins(shuffled) == pytest.approx(msgspec.to_builtins(in_order))


@given(
    st.lists(st.tuples(st.integers(0, 300), st.integers(0, 2), st.floats(0, 20)), min_size=9, max_size=60),
    st.integers(1, 100),
)
def test_the_fitted_slope_is_that_of_weighted_least_squares(
    points: list[tuple[int, int, float]], half_life: int
) -> None:
    curve = Curve(points[0][0])
    for step, own, loss in points:
        weight = 0.5 + own
        curve.add(step, Sums(weight, weight**2, weight, weight * loss, weight * loss**2), half_life)
    steps = np.array([step for step, _, _ in points], float) - curve.step
    weights = np.array([0.5 + own for _, own, _ in points]) * 0.5 ** (-steps / half_life)
    losses = np.array([loss for _, _, loss in points])
    mean = (weights * steps).sum() / weights.sum()
    spread = (weights * (steps - mean) ** 2).sum()
    covariance = (weights * (steps - mean) * (losses - losses.mean())).sum()
    scale = weights.sum() * (1 + abs(steps).max()) ** 2
    assert curve.xx - curve.x**2 / curve.weight == pytest.approx(spread, abs=1e-8 * scale)
    assert curve.xy - curve.x * curve.y / curve.weight == pytest.approx(covariance, abs=1e-7 * scale)


def curves_of(
    losses: dict[int, Callable[[int], float]], *, propensity: float = 1.0, noise: float = 0.3
) -> dict[int, Curve]:
    rng = np.random.default_rng(0)
    curves = {cluster: Curve(0) for cluster in losses}
    for step in range(100):
        documents = [(cluster, propensity) for cluster in losses for _ in range(4)]
        of_step = losses_of(documents, lambda cluster, step=step: losses[cluster](step) + rng.normal(0, noise))  # type: ignore[misc]
        for cluster, sums in sums_by_cluster(of_step).items():
            curves[cluster].add(step, sums, 50)
    return curves


def test_the_reward_is_progress_in_standard_deviations_beside_what_falls_for_all() -> None:
    def rewards(common: Callable[[float], float], unit: float) -> dict[int, float]:
        losses = {c: lambda step, c=c: unit * (8 - 0.004 * c * step + common(step)) for c in range(6)}  # type: ignore[misc]
        return {cluster: value for cluster, value, _ in progress_rewards(curves_of(losses, noise=0.3 * unit), 0)}

    plain = rewards(lambda step: 0.0, 1.0)
    assert list(plain) == list(range(6))
    assert sorted(plain, key=plain.__getitem__) == list(range(6))
    assert sum(plain.values()) == pytest.approx(0, abs=0.3)
    assert np.std(list(plain.values())) == pytest.approx(1, abs=0.3)
    assert rewards(lambda step: -0.02 * step, 1.0) == pytest.approx(plain, abs=0.05)
    assert rewards(lambda step: 0.0, 0.25) == pytest.approx(plain, abs=0.05)


def test_without_a_difference_beyond_the_noise_there_is_no_reward() -> None:
    assert progress_rewards({c: Curve(0) for c in range(3)}, 0) == []
    assert progress_rewards({}, 0) == []
    assert progress_rewards(curves_of({1: lambda step: 3 - 0.01 * step}), 0) == []
    alike = curves_of({cluster: lambda step: 3.0 for cluster in range(8)})
    assert all(count < 0.5 for _, _, count in progress_rewards(alike, 0))


def test_losses_without_any_noise_are_no_trouble() -> None:
    curves = curves_of({c: lambda step, c=c: 5 - 0.01 * c * step for c in range(3)}, noise=0.0)  # type: ignore[misc]
    assert [count for _, _, count in progress_rewards(curves, 0)] == pytest.approx([1, 1, 1])


def test_a_document_that_was_admitted_rarely_stands_for_more_up_to_a_limit() -> None:
    losses = Losses(
        clusters_S=np.array([3, 3, 1, 1], np.int32),
        losses_S=np.array([1.0, 3.0, 2.0, 500.0]),
        num_targets_S=np.array([256, 1_000, 64, 256]),
        propensities_S=np.array([1.0, 0.5, 1.0, 0.001]),
    )
    sums = sums_by_cluster(losses)
    assert list(sums) == [1, 3]
    assert sums[3] == Sums(3.0, 5.0, 2.0, 7.0, 19.0)
    assert sums[1].weight == pytest.approx(5.25)
    assert sums[1].loss == pytest.approx(0.25 * 2 + 5 * 20)  # no loss counts for more than 20 nats


def test_a_report_is_learned_from_once_however_often_it_comes() -> None:
    rewards = Rewards(FeedbackConfig())
    steps = [*range(200), *range(150), *range(199, 0, -1)]
    admitted = [step for step in steps if rewards.admit(report(step=step))]
    assert admitted == list(range(200))
    assert rewards.counts.duplicate == len(steps) - 200
    assert all(rewards.admit(report(step=step, rank=1)) for step in range(3))
    assert all(rewards.admit(report("another run", step=step)) for step in range(3))


def test_a_late_report_counts_within_the_window_and_not_beyond() -> None:
    rewards = Rewards(FeedbackConfig())
    assert rewards.admit(report(step=10_000))
    assert rewards.admit(report(step=10_000 - SEEN_STEPS + 1))
    assert not rewards.admit(report(step=10_000 - SEEN_STEPS + 1))
    assert not rewards.admit(report(step=10_000 - SEEN_STEPS))
    assert (rewards.counts.duplicate, rewards.counts.late) == (1, 1)


@given(st.lists(st.integers(0, 2 * SEEN_STEPS), max_size=200))
def test_what_was_seen_is_what_a_set_of_the_last_steps_would_remember(steps: list[int]) -> None:
    rewards, seen, latest = Rewards(FeedbackConfig()), set[int](), -1
    for step in steps:
        latest = max(latest, step)
        assert rewards.admit(report(step=step)) == (step not in seen and step > latest - SEEN_STEPS)
        seen.add(step)


def test_a_step_that_the_optimiser_skipped_says_nothing() -> None:
    rewards = Rewards(FeedbackConfig())
    assert not rewards.admit(report(step=1, skipped=True))
    assert rewards.counts.skipped == 1


def test_plain_rewards_are_taken_as_they_are_once() -> None:
    rewards = Rewards(FeedbackConfig())
    assert not rewards.is_heard
    for value in (1.0, 2.0, 6.0):
        rewards.reward_cluster(4, value)
    rewards.reward_cluster(2, -1.0)
    rewards.reward_document(77, 0.5)
    rewards.reward_document(78, 0.5)
    merged = {4: 9, 2: 2, 5: 5}
    assert rewards.take(merged.get, {77: 5}.get, last_doc_no=78) == [
        ArmReward(2, -1.0, 1.0, "scorer"),
        ArmReward(9, 3.0, 3.0, "scorer"),
        ArmReward(5, 0.5, 1.0, "scorer"),
    ]
    assert rewards.is_heard
    assert take(rewards) == []


def test_a_reward_of_a_document_waits_for_the_tick_of_its_document() -> None:
    rewards = Rewards(FeedbackConfig())
    rewards.reward_document(77, 0.5)
    rewards.reward_document(700, 0.25)
    cluster_of = {77: 5}
    assert rewards.take(same, cluster_of.get, last_doc_no=511) == [ArmReward(5, 0.5, 1.0, "scorer")]
    restored = Rewards(FeedbackConfig())
    kept = Kept()
    kept.commit(rewards)
    kept.restore(restored)
    cluster_of[700] = 6

    for one in (rewards, restored):
        assert one.take(same, cluster_of.get, last_doc_no=1023) == [ArmReward(6, 0.25, 1.0, "scorer")]
        assert take(one) == []


def test_only_the_run_that_was_silent_for_longest_is_forgotten_for_a_new_one() -> None:
    rewards = Rewards(FeedbackConfig())
    for number in range(MAX_RUNS):
        assert rewards.admit(report(f"run {number}"))
    rewards.admit(report("run 0", step=1))
    rewards.admit(report("new"))
    assert not rewards.admit(report("run 0"))
    assert rewards.admit(report("run 1"))
    assert sum(key[:1] == b"r" for key in facts(rewards)) == MAX_RUNS


def test_clusters_that_are_silent_for_long_are_forgotten() -> None:
    rewards = Rewards(FeedbackConfig(half_life_steps=1))
    rewards.observe("run", 0, losses_of([(1, 1.0), (2, 1.0)], flat(3.0)))
    take(rewards)
    before = facts(rewards)
    rewards.observe("run", 100, losses_of([(2, 1.0)], flat(3.0)))
    take(rewards)
    gone = [key for key, value in facts(rewards).items() if value is None]
    assert gone == [key for key in before if key[:1] == b"c" and key.endswith(b"\x01")]


def drive(rewards: Rewards, actions: random.Random, number: int) -> list[list[ArmReward]]:
    """Anything that can happen, `number` times; what the ticks among it took."""
    taken = []
    for _ in range(number):
        kind, run = actions.randrange(10), f"run {min(actions.randrange(30), 12)}"
        if kind == 0:
            survivors = {cluster: cluster for cluster in range(8) if cluster % 5}
            taken.append(rewards.take(survivors.get, {3: 2, 4: 1}.get, last_doc_no=actions.randrange(6)))
        elif kind == 1:
            rewards.reward_cluster(
                actions.randrange(6), actions.random(), actions.choice(["scorer", "influence", "own"])
            )
        elif kind == 2:
            rewards.reward_document(actions.randrange(6), actions.random())
        else:
            step = actions.randrange(300)
            if rewards.admit(report(run, step, actions.randrange(2), skipped=kind == 3)):
                documents = [(actions.randrange(8), actions.choice([0.05, 0.5, 1.0])) for _ in range(12)]
                falls = {cluster: 3 + actions.random() - 0.001 * cluster * step for cluster in range(8)}
                rewards.observe(run, step, losses_of(documents, falls.__getitem__))
    return taken


@given(st.integers(0, 2**32), st.integers(0, 150), st.integers(1, 150))
def test_a_restored_stage_goes_on_to_the_last_bit(seed: int, before: int, after: int) -> None:
    sources = ("progress", "scorer", "influence")
    lived, reference = Rewards(FeedbackConfig(half_life_steps=30), sources=sources), random.Random(seed)
    kept = Kept()
    for _ in range(3):
        drive(lived, reference, before // 3)
        kept.commit(lived)  # which fails where something is removed that never was a fact
    restored = Rewards(FeedbackConfig(half_life_steps=30), sources=sources)
    kept.restore(restored)
    again = random.Random()
    again.setstate(reference.getstate())
    assert drive(lived, reference, after) == drive(restored, again, after)
    assert changes_of(lived) == changes_of(restored)
    assert lived.counts == restored.counts


def test_gathered_and_not_yet_ticked_survives_in_few_facts() -> None:
    rewards = Rewards(FeedbackConfig())
    for value in range(1_000):
        rewards.reward_cluster(value % 3, float(value))
    written = facts(rewards)
    assert Counter(key[:1] for key in written) == {b"p": 3}
    take(rewards)
    assert [value for key, value in facts(rewards).items() if key[:1] == b"p"] == [None] * 3
