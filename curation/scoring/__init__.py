"""Scoring: documents by a model that is being trained, apart from the lane."""
