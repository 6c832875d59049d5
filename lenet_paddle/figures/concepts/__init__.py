"""Ideas: convolution, pooling, padding, activations, kernels."""
