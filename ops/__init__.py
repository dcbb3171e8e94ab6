"""The operator's view: metrics, events, logs, health."""
