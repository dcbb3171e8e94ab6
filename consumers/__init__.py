"""The topics: how documents, feedback and control messages come in, and how sequences go out."""
