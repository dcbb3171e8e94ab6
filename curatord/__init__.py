"""The imports of trainers: records, sequences, the stream that reads them; and `prepare`, for engines."""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from curatord.prepared import prepare
    from curatord.sequence import PackedSequence
    from curatord.stream import PackedStream

__version__ = "0.2.0"
__all__ = ["PackedSequence", "PackedStream", "prepare"]

_FIRST_USED = {
    "PackedSequence": "curatord.sequence",
    "PackedStream": "curatord.stream",
    "prepare": "curatord.prepared",
}


def __getattr__(name: str) -> object:
    """Import a name when it is used first: the command sets up its libraries before numpy is there."""
    if name not in _FIRST_USED:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_FIRST_USED[name]), name)
