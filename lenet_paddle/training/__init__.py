"""Room 5: model + batches -> checkpoints + history."""
