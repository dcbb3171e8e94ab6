"""Documents scored for the lane, by a worker apart from it."""
