"""Vectors: the teacher, the student that imitates it, and the student's training on the stream."""
