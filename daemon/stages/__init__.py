"""Stages: the verbs of the pipeline over the parts that keep state."""
