"""Commands: one file a command, named as it is called, and what several commands show."""
