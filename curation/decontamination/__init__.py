"""Decontamination: documents that hold questions of evaluation sets."""
