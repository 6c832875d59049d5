"""Checkpoint -> files that answer without the project: engines, formats, predictor, card."""
