"""Files -> uint8 images with labels -> batches, and what the data sets are.

`datasets` and `augment` hold the settings; they import no NumPy, so that `--help` starts fast.
"""
