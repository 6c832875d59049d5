"""Train a network: model + batches -> checkpoints + history."""
