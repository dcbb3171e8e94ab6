"""Tools of development and of the demonstration."""
