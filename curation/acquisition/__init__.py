"""Acquisition: pages of crawlers to texts."""
