"""Whole jobs that combine the other packages: train, evaluate, export, fine-tune, predict."""
