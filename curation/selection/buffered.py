"""Buffered documents: the facts of the balance buffers. Apart from the mixture, which is heavy to import."""

from __future__ import annotations

from state.facts import NUMBER, RAW, Facts, Family

MIXTURE = Family("mixture", "a document in a balance buffer, or what a cluster was served")
BUFFERED = Facts(MIXTURE, NUMBER, RAW, prefix=b"h")  # a record of the buffer, its cluster, its source pattern
