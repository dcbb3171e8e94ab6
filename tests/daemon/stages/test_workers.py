"""Workers: consecutive slices over any number of threads, with the results in order."""

from __future__ import annotations

import threading

import pytest

from daemon.stages.workers import MIN_DOCUMENTS, Workers


@pytest.mark.parametrize("threads", [1, 2, 5])
@pytest.mark.parametrize("num_documents", [0, 1, MIN_DOCUMENTS, 2 * MIN_DOCUMENTS, 1000])
def test_slices_cover_all_documents_in_order(threads: int, num_documents: int) -> None:
    workers = Workers(threads)

    parts = workers.map(lambda part: list(range(num_documents))[part], num_documents)

    workers.close()
    assert [place for part in parts for place in part] == list(range(num_documents))
    assert len(parts) <= threads
    assert len(parts) == 1 or all(len(part) >= MIN_DOCUMENTS for part in parts)


def test_parts_run_at_the_same_time() -> None:
    workers = Workers(2)
    both = threading.Barrier(2)

    assert workers.map(lambda part: both.wait(60) >= 0, 2 * MIN_DOCUMENTS) == [True, True]
    workers.close()


def test_an_error_in_a_part_is_the_callers() -> None:
    workers = Workers(2)

    def fail(part: slice) -> None:
        if part.start:
            raise ValueError("in the second part")

    with pytest.raises(ValueError, match="in the second part"):
        workers.map(fail, 2 * MIN_DOCUMENTS)
    workers.close()
