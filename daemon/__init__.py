"""The running process: commands, configuration, the pipeline and its life cycle."""
