"""Room 6: checkpoint -> files and answers."""
