"""Tests on a real Kafka broker."""

import warnings

with warnings.catch_warnings():
    # kafka-python reads its schemas, while it is imported, in a way that Python 3.11 calls deprecated.
    warnings.filterwarnings("ignore", "(read|open)_text is deprecated", DeprecationWarning)
    import kafka  # noqa: F401
