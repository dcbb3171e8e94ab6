"""The kind of sequences that a job trains on: the same tokenizer and context length all along."""

from __future__ import annotations

from dataclasses import dataclass

from curatord.errors import ForeignStream
from curatord.position import StreamState
from curatord.sequence import PackedSequence


@dataclass(slots=True)
class Wanted:
    """The tokenizer and context length that a stream must have; the first sequence or state sets those left open."""

    url: str
    digest: str
    context_length: int

    def check(self, sequence: PackedSequence) -> PackedSequence:
        """The sequence. Raises `ForeignStream` if it is of another tokenizer or context length."""
        digest = f"{sequence.tokenizer_digest:016x}" if sequence.tokenizer_digest else ""
        if sequence.context_length == 0:  # stands for one that is missing
            return sequence
        if digest and self.digest and digest != self.digest:
            raise ForeignStream(
                f"sequence {sequence.seq_no} of {self.url} was made with the tokenizer {digest}, this run trains on "
                f"{self.digest}: these tokens mean other words. Read a stream of your tokenizer"
            )
        if self.context_length and sequence.context_length != self.context_length:
            raise ForeignStream(
                f"sequence {sequence.seq_no} of {self.url} has a context of {sequence.context_length} tokens, this "
                f"run trains on {self.context_length}: read the generation that has it (generation=)"
            )
        self.digest = self.digest or digest
        self.context_length = self.context_length or sequence.context_length
        return sequence

    def check_state(self, state: StreamState) -> None:
        """Raises `ForeignStream` if a state was taken with another tokenizer or context length."""
        if self.digest and state.tokenizer_digest and state.tokenizer_digest != self.digest:
            raise ForeignStream(
                f"the state was taken with the tokenizer {state.tokenizer_digest}, this stream has {self.digest}"
            )
        if self.context_length and state.context_length and state.context_length != self.context_length:
            raise ForeignStream(
                f"the state was taken at a context of {state.context_length} tokens, this stream has "
                f"{self.context_length}"
            )
        self.digest = self.digest or state.tokenizer_digest
        self.context_length = self.context_length or state.context_length
