"""The worth of a curation: what a small model learns from it, at equal tokens, against other ways to choose."""
