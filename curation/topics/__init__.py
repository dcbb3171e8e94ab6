"""Topics: clusters, their features, their splits and merges, and their lineage."""
