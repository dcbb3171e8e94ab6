"""Facts that several rooms know: where the inputs are, what could not be read, how far the ticks are."""

from __future__ import annotations

from curatord.records import DeadLetter
from state.facts import DECIMAL, NUMBER, RAW, TEXT, Facts, Family, packed, single

INPUTS = Family("inputs", "an input, and the position after the last row read")
POSITIONS = Facts(INPUTS, TEXT, DECIMAL)  # of topics; what is known of files is more (consumers/files/broker.py)
DEAD_LETTERS = Facts(Family("dead_letters", "a row that could not be read"), NUMBER, packed(DeadLetter))
RETRACTED = Facts(Family("retracted", "a document that was taken back, and why"), NUMBER, TEXT)
TOMBSTONES = Facts(
    # By the key of the id; the time of the retraction in microseconds.
    Family("tombstones", "the retraction of an id that was not read yet, or may come again"),
    RAW,
    NUMBER,
)
NEXT_ORDINAL = single("next_ordinal", DECIMAL)
TICKED = single("ticked", DECIMAL)  # documents with a lower ordinal were taken by their tick; the others wait for it
LANE = single("lane", TEXT)  # name of the journal
