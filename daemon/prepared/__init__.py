"""Rows prepared apart from the process that decides about them."""
