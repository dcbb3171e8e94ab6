"""What trainers import: the records on the topics, the sequence format and the stream that reads it."""

__version__ = "0.1.0"
