"""Figures that explain an idea: convolution, pooling, padding, activations, kernels."""
