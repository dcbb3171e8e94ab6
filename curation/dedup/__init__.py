"""Deduplication: exact by hash, near by MinHash, and the guard over a source's removals."""
