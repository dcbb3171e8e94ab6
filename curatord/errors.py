"""What can go wrong, as one tree. Every message says what is wrong, where, and what to do next.

CuratordError                  exit  1   anything below; never raised itself
├── UsageError                       2   an argument of a command cannot be used (no such file, an empty glob)
├── ConfigError                     78   the configuration is wrong: an unknown key, a wrong type, a contradiction
├── StateError                      65   the state is damaged, newer than this program, or belongs to another identity
│   └── IdentityError               65   an option that gives the state its meaning was changed under it
├── StateBusy                        1   another process owns the state folder
├── StorageError                     1   a disk is full or not writable; nothing was lost, run again after mending it
├── BrokerUnavailable               69   the message broker cannot be reached
├── AddressTaken                    69   another process answers where this one is to answer
├── LaneLost                         1   another process owns the lane now; a restart makes this one a standby
├── WatchdogExpired                 70   a commit did not finish in time
├── CorruptSequence                  1   a record of packed sequences is damaged, or of a newer format
└── Undecodable                      -   one message cannot be read; becomes a dead letter, never ends the process
"""

from __future__ import annotations


class CuratordError(Exception):
    """The root. `exit_code` is what the command ends with."""

    exit_code = 1


class UsageError(CuratordError):
    """An argument of a command cannot be used."""

    exit_code = 2


class ConfigError(CuratordError):
    """The configuration cannot be used; the message lists every mistake found."""

    exit_code = 78


class StateError(CuratordError):
    """The state on disk cannot be read, or is not of this version."""

    exit_code = 65


class IdentityError(StateError):
    """An identity option differs from the one that the state was made with."""


class StateBusy(CuratordError):
    """Another process holds the lock of the state folder."""


class StorageError(CuratordError):
    """Writing failed: the disk is full, read-only or gone."""


class BrokerUnavailable(CuratordError):
    """The message broker cannot be reached."""

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


class Undecodable(CuratordError):
    """A message that is no document. `reason` is one of the closed set in `consumers.codec`.

    Raised by the decoder, caught by the reader, written to the dead letters.
    """

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason
