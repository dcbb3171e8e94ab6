"""What development and the demonstration need beside the application."""
