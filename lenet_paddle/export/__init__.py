"""Export a checkpoint to files that run without the project: engines, formats, predictor, card."""
