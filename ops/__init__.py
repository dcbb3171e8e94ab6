"""What the operator sees: metrics, events, logs, health."""
