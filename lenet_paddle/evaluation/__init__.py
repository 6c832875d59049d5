"""Model + batches -> one result dict; metrics in pure NumPy."""
