"""All errors, as one tree. Every message says what is wrong, where, and what to do next.

CuratordError                  exit  1   anything below; never raised itself
├── UsageError                       2   an argument of a command cannot be used (no such file, an empty glob)
├── ConfigError                     78   the configuration is wrong: an unknown key, a wrong type, a contradiction
│   └── AccessRefused               78   the cluster does not let this client in, or gives it no right
├── StateError                      65   the state is damaged, newer than this program, or belongs to another identity
│   ├── JournalUnusable             65   the journal does not bring a state to where its lane is
│   ├── StateAhead                  65   a state has epochs that its lane does not know
│   └── IdentityError               65   an option that gives the state its meaning was changed under it
├── StateBusy                        1   another process owns the state folder
├── StorageError                     1   a disk is full or not writable; nothing was lost, run again after mending it
├── BrokerUnavailable               69   the message broker cannot be reached
├── StoreUnavailable                69   an object store cannot be reached, or does not let this client do something
├── AddressTaken                    69   another process answers where this one is to answer
├── LaneLost                         1   another process owns the lane now; a restart makes this one a standby
├── WatchdogExpired                 70   a commit did not finish in time
├── CorruptSequence                  1   a record of packed sequences is damaged, or of a newer format
├── StreamError                      1   a stream of packed sequences cannot be read as it was asked for
│   ├── SequenceGap                  1   a sequence is missing where the next one was expected
│   ├── RetentionLost                1   the sequences that come next were deleted before they were read
│   ├── ForeignStream                1   another tokenizer, context length or topic than the reader's
│   ├── GenerationEnded              1   the sequences go on with another context length
│   └── UnsafeTraining               1   the trainer is set up to let documents of a sequence see each other
└── Undecodable                      -   one message cannot be read; becomes a dead letter, never ends the process
"""

from __future__ import annotations

from typing import Any


class CuratordError(Exception):
    """The root. `exit_code` is what the command ends with."""

    exit_code = 1

    def __reduce__(self) -> tuple[Any, ...]:
        """Made without its constructor, which may ask for more: rows that cannot be read travel between processes."""
        return Exception.__new__, (type(self), *self.args), self.__dict__


class UsageError(CuratordError):
    """An argument of a command cannot be used."""

    exit_code = 2


class ConfigError(CuratordError):
    """The configuration cannot be used; the message lists every mistake found."""

    exit_code = 78


class AccessRefused(ConfigError):
    """The cluster does not let this client in, or gives it no right to what it asks for."""


class StateError(CuratordError):
    """The state on disk cannot be read, or is not of this version."""

    exit_code = 65


class JournalUnusable(StateError):
    """The journal was cut before it was read, has a gap, or cannot be read, so the state cannot follow."""


class StateAhead(StateError):
    """The state has epochs that its lane, which is at epoch `end`, does not know."""

    def __init__(self, message: str, *, end: int) -> None:
        super().__init__(message)
        self.end = end


class IdentityError(StateError):
    """An identity option differs from the one that the state was made with."""


class StateBusy(CuratordError):
    """Another process holds the lock of the state folder."""


class StorageError(CuratordError):
    """Writing failed: the disk is full, read-only or gone."""


class BrokerUnavailable(CuratordError):
    """The message broker cannot be reached."""

    exit_code = 69


class StoreUnavailable(CuratordError):
    """An object store cannot be reached, or does not let this client do what it asks for."""

    exit_code = 69


class AddressTaken(CuratordError):
    """The address for metrics and probes is in use; it frees itself when the other process ends."""

    exit_code = 69


class LaneLost(CuratordError):
    """Another process owns the lane now; this one must not commit any more."""


class WatchdogExpired(CuratordError):
    """A commit did not finish within its bound."""

    exit_code = 70


class CorruptSequence(CuratordError):
    """A record that is no packed sequence that this program can read."""


class StreamError(CuratordError):
    """A stream of packed sequences cannot be read as it was asked for."""


class SequenceGap(StreamError):
    """`found` came where `expected` should have been."""

    def __init__(self, message: str, *, expected: int, found: int) -> None:
        super().__init__(message)
        self.expected = expected
        self.found = found


class RetentionLost(StreamError):
    """`wanted` was deleted; `oldest` is the first sequence that can still be read."""

    def __init__(self, message: str, *, wanted: int, oldest: int) -> None:
        super().__init__(message)
        self.wanted = wanted
        self.oldest = oldest


class ForeignStream(StreamError):
    """A stream of another tokenizer or context length, or another topic, than the reader expects."""


class GenerationEnded(StreamError):
    """The generation that is read is complete; a newer one, of another context length, goes on."""


class UnsafeTraining(StreamError):
    """Settings of the trainer with which documents that share a sequence would see each other, or be packed again."""


class Undecodable(CuratordError):
    """A message that is no document. `reason` is one of the closed set in `consumers.formats.codec`.

    Raised by the decoder, caught by the reader, written to the dead letters. `has_original`: the message itself is at
    hand, not only its beginning.
    """

    def __init__(self, reason: str, message: str, *, has_original: bool = False) -> None:
        super().__init__(message)
        self.reason = reason
        self.has_original = has_original


def first_line(error: BaseException) -> str:
    """Of an error's message, or its name without one; at most 200 characters."""
    return (str(error).splitlines() or [type(error).__name__])[0][:200]


def install_with(extra: str) -> str:
    """How to install what an extra of this package brings; there is no such package on a public index."""
    return (
        f"Install curatord with its extra `{extra}`: in its source folder pip install '.[{extra}]', from a wheel "
        f"pip install 'PATH_OF_THE_WHEEL[{extra}]'"
    )
