"""Acquisition: pages of crawlers to texts, and texts without personal data."""
