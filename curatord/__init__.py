"""The imports of trainers: the records on the topics, the sequence format and the stream that reads it."""

from curatord.sequence import PackedSequence
from curatord.stream import PackedStream

__version__ = "0.2.0"
__all__ = ["PackedSequence", "PackedStream"]
