"""The fact of a tick gives back what each of its documents was weighed by."""

from __future__ import annotations

import numpy as np
import pytest

from curation.selection.weighing_facts import WEIGHED, Weighed, weighed_document
from state.outcomes import LaterReason


def test_a_document_is_found_in_its_tick_and_no_other() -> None:
    fact = Weighed(
        doc_nos=np.array([7, 9]).tobytes(),
        nats=np.log(np.array([[100.0, 8.0], [np.nan, np.nan]], np.float32)).tobytes(),
        factors={"commonness": np.array([0.5, 1.0], np.float32).tobytes()},
        mean=1.25,
        turned_away={7: LaterReason.ENTROPY_TOO_LOW.value},
    )
    fact = WEIGHED.value.decode(WEIGHED.value.encode(fact))
    first, second = weighed_document(fact, 7), weighed_document(fact, 9)
    assert first is not None
    assert second is not None
    assert (first.factors, first.mean, first.turned_away) == ({"commonness": 0.5}, 1.25, "entropy_too_low")
    assert first.perplexity == pytest.approx(100)
    assert first.entropy == pytest.approx(3)
    assert np.isnan(second.perplexity)
    assert second.turned_away is None
    assert weighed_document(fact, 8) is None
