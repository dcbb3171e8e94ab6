"""The catalogue of metrics. Each one states the question that it answers.

Names begin with `curatord_`, quantities are in base units. A process exports at most `MAX_SERIES` series, so that a
scrape, which holds the interpreter's lock, takes some 25 ms: every metric with labels has a limit; what comes beyond it
is counted as `other`. No label ever holds an id, an address, a source or the text of an error.

Counters begin at 0 with the process. They move once a batch or an epoch, never once a document.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final, Literal

PREFIX: Final = "curatord_"
MAX_SERIES: Final = 2000

MAX_PARTITIONS: Final = 512
MAX_CLUSTERS: Final = 128  # with a series of their own: the largest
AGE_BOUNDS_S: Final = (0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0, 3600.0, 21600.0, 86400.0)
DURATION_BOUNDS_S: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
EPOCH_BOUNDS: Final = (1, 10, 100, 250, 500, 1000, 2500, 5000, 10_000, 50_000)


class Metric(StrEnum):
    """A line of the catalogue: name without prefix, question, labels, limit of each, bounds of a histogram."""

    question: str
    labels: tuple[str, ...]
    limit: int  # combinations of label values with a series of their own
    bounds: tuple[float, ...]
    first: tuple[str, ...]  # label values that are shown from the start

    def __new__(
        cls,
        name: str,
        question: str,
        labels: str = "",
        limit: int = 1,
        bounds: tuple[float, ...] = (),
        first: str = "",
    ) -> Metric:
        """A member with the value `name`; `labels` and `first` are names with blanks between them."""
        metric = str.__new__(cls, name)
        metric._value_ = name
        metric.question, metric.limit, metric.bounds = question, limit, bounds
        metric.labels, metric.first = tuple(labels.split()), tuple(first.split())
        return metric

    @property
    def full_name(self) -> str:
        """The name in an exposition; of a histogram without _bucket, _sum and _count."""
        return PREFIX + self.value

    @property
    def kind(self) -> Literal["counter", "gauge", "histogram"]:
        """The type in an exposition."""
        if self.bounds:
            return "histogram"
        return "counter" if self.value.endswith("_total") else "gauge"

    @property
    def max_series(self) -> int:
        """Series of one process at most, `other` included."""
        if self.bounds:
            return self.limit * (len(self.bounds) + 3)
        return self.limit + 1 if self.labels else 1

    DOCUMENTS = ("documents_total", "What became of the rows that were read?", "outcome", 8)
    READ_BYTES = ("read_bytes_total", "How much text is read?")
    REJECTIONS = (
        "rejections_total",
        "Which stage drops documents when they are read, and why?",
        "stage reason",
        128,
    )
    TAKEN_BACK = (
        "taken_back_total",
        "Why are accepted documents not sent: not sampled, replaced, retracted?",
        "reason",
        8,
    )
    RULE_FAILURES = (
        "rule_failures_total",
        "Which quality rules would drop how much, if they decided?",
        "rule",
        96,
    )
    DEAD_LETTERS = ("dead_letters_total", "What cannot be read, and why?", "reason", 32)
    SET_ASIDE = ("set_aside_total", "Which rows ended the process twice, and are set aside?")
    REMOVAL_SURGES = ("removal_surges_total", "Does a source lose far more near-duplicates than it used to?")
    DOCUMENT_AGE = (
        "document_age_seconds",
        "How old are documents on arrival, and when committed?",
        "point",
        2,
        AGE_BOUNDS_S,
        "received committed",
    )
    PREPARED_ROWS = ("prepared_rows_total", "How many rows do workers prepare?")
    PREPARED_BYTES = ("prepared_bytes_total", "How large is what workers send to the lane?")
    PREPARED_PARTITIONS = ("prepared_partitions", "How many partitions does this worker prepare?")
    PREPARED_REPEATED = ("prepared_repeated_total", "How many prepared rows come to the lane more than once?")
    PREPARED_HEADROOM = (
        "prepared_headroom_messages",
        "How many prepared messages may retention still cut before it reaches tokens that the journal does not hold?",
        "partition",
        MAX_PARTITIONS,
    )
    SCORED = (
        "scored_total",
        "What becomes of requests for rewards: scored, short, unreadable, failed?",
        "outcome",
        4,
    )
    SCORE_PARTITIONS = ("score_partitions", "How many partitions of requests does this worker score?")
    SCORE_CHECKPOINT = ("score_checkpoint_seconds", "When was the checkpoint written that this worker scores by?")
    ARCHIVED = ("archived_sequences_total", "How many sequences go to the archive?")
    ARCHIVE_LAG = ("archive_lag_sequences", "How many sequences on the topic are not in the archive yet?")
    LAG = ("lag_messages", "Is it falling behind, and where?", "partition", MAX_PARTITIONS)

    SEQUENCES = ("sequences_total", "How many sequences come out?")
    TOKENS = ("tokens_total", "Where do tokens go: accepted, emitted, emitted_again, taken_back?", "kind", 4)
    PACKING_TOKENS = (
        "packing_tokens_total",
        "What are rows filled with: document, padding, padding_flushed?",
        "kind",
        4,
        (),
        "document padding padding_flushed",
    )
    DOCUMENTS_CUT = ("documents_cut_total", "Is a document cut that would have fitted? Never.")
    DOCUMENTS_SPLIT = ("documents_split_total", "How many documents are longer than a sequence?")
    HELD_DOCUMENTS = ("held_documents", "How many accepted documents wait for their row?")
    HELD_TOKENS = ("held_tokens", "How many accepted tokens were not sent yet?")

    RETENTION_HEADROOM = (
        "retention_headroom_sequences",
        "How many sequences may retention still cut before a checkpoint of a training run cannot go on?",
        "lane",
        1,
    )

    EMBEDDING_VERSION = ("embedding_version", "How often was the student trained?")
    EMBEDDING_KNOWN = ("embedding_known_ratio", "Which share of the tokens that come does the student know?")
    CLUSTERS = ("clusters", "How many clusters are there?")
    CLUSTER_DOCUMENTS = (
        "cluster_documents",
        "How are documents spread over clusters?",
        "cluster",
        MAX_CLUSTERS,
    )
    BANDIT_REWARD = (
        "bandit_reward_mean",
        "What is a cluster worth, in deviations from the mean?",
        "cluster",
        MAX_CLUSTERS,
    )
    BANDIT_ADMISSION = (
        "bandit_admission_ratio",
        "With which probability is its next document admitted?",
        "cluster",
        MAX_CLUSTERS,
    )
    POLICY_VERSION = ("bandit_policy_version", "Does the bandit learn?")
    FEEDBACK = (
        "feedback_total",
        "Does feedback arrive, and is it learned: learned, duplicate, late, dead?",
        "outcome",
        16,
    )

    LOOP_SECONDS = (
        "loop_seconds_total",
        "Where does the loop spend its time? The rates of all phases sum to 1.",
        "phase",
        32,
    )
    EPOCHS = ("epochs_total", "Is it committing?")
    EPOCH = ("epoch", "Which epoch was committed, or taken in, last?")
    EPOCH_DOCUMENTS = ("epoch_documents", "Are epochs full?", "", 1, EPOCH_BOUNDS)
    COMMIT_SECONDS = ("commit_duration_seconds", "How long does a commit take?", "", 1, DURATION_BOUNDS_S)
    TRANSACTION_SECONDS = (
        "transaction_duration_seconds",
        "How much of it is the broker's transaction?",
        "",
        1,
        DURATION_BOUNDS_S,
    )
    LAST_COMMIT = ("last_commit_timestamp_seconds", "When was the last commit?")
    FLUSHES = ("flushes_total", "How often was everything let go because no input came?")

    JOURNAL_BYTES = ("journal_bytes_total", "How fast does the journal grow?")
    JOURNAL_UNCUT_BYTES = (
        "journal_uncut_bytes",
        "How much was written to the journal since it was last cut, by this process?",
    )
    JOURNAL_CUTS = ("journal_cuts_total", "Is the journal cut?")
    SNAPSHOTS = ("snapshots_total", "Are snapshots made?")
    SNAPSHOT_FAILURES = ("snapshot_failures_total", "Do snapshots fail?")
    SNAPSHOT_BYTES = ("snapshot_bytes", "How large is the latest snapshot?")
    SNAPSHOT_SECONDS = ("snapshot_duration_seconds", "How long did the latest snapshot take?")
    LAST_SNAPSHOT = ("last_snapshot_timestamp_seconds", "When was the latest snapshot made?")
    RESTORE_REMAINING = ("restore_remaining_epochs", "Is a restore progressing?")
    RESTORES = ("restores_total", "How often was the state restored?")
    INDEX_BYTES = ("index_bytes", "How much memory do the indices of documents seen take?")
    INDEX_WANTED_BYTES = ("index_wanted_bytes", "With which state.memory would every look-up begin in memory?")
    STATE_FREE_BYTES = ("state_disk_free_bytes", "Will the disk of the state fill up?")

    STATUS = ("status", "What is the process doing? 1 for the one that it does.", "status", 8)
    OWNER = ("owner", "Does this process own the lane? They sum to 1 over a lane.", "lane", 1)
    BROKER_OUTAGES = ("broker_outages_total", "How often was the broker away?")
    BUILD_INFO = ("build_info", "Which version runs?", "version", 1)
    CONFIG_INFO = ("config_info", "Do all processes run the same configuration?", "hash", 1)
