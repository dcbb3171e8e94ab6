"""Formats: from bytes to documents and feedback, from verdicts and dead letters to bytes."""
