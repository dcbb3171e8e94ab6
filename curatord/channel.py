"""The channel from a training run back to the lane, opened with the first record."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from curatord.open_source import kafka_place

if TYPE_CHECKING:
    from curatord.feedback import Reporter


class Channel:
    """Feedback of one rank: to `topic` (kafka://host:9092/topic), or without it beside the topic of sequences."""

    def __init__(
        self, url: str, topic: str, client_options: Mapping[str, Any], run_id: str, place: tuple[int, int]
    ) -> None:
        self._url, self._topic, self._run_id, self._place = url, topic, run_id, place
        self._client_options = client_options
        self._reporter: Reporter | None = None

    @property
    def is_possible(self) -> bool:
        """Whether there is a run, and a topic for its feedback."""
        return bool(self._run_id and (self._topic or self._url.startswith("kafka://")))

    @property
    def dropped(self) -> int:
        """Records that never reached the broker."""
        return 0 if self._reporter is None else self._reporter.dropped

    def opened(self) -> Reporter:
        """The sender of records. Raises ValueError if there is no run, or no topic for its feedback."""
        if self._reporter is None:
            if not self.is_possible:
                raise ValueError(
                    "feedback needs a run_id, and for a folder the topic that the daemon reads: "
                    "PackedStream(..., run_id='my-run', feedback='kafka://host:9092/feedback')"
                )
            from curatord.feedback import Reporter

            servers, topic = kafka_place(self._topic or self._url)
            rank, world = self._place
            self._reporter = Reporter(
                servers,
                topic if self._topic else "feedback",
                self._client_options,
                run_id=self._run_id,
                rank=rank,
                world=world,
            )
        return self._reporter

    def close(self) -> None:
        """Send what waits, and let the connection go; the next record opens another."""
        if self._reporter is not None:
            self._reporter.close()
            self._reporter = None

    def __getstate__(self) -> dict[str, Any]:
        """For another process, which opens its own."""
        return {**self.__dict__, "_reporter": None}
