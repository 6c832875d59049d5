"""Curves, confusion, mistakes, embedding, robustness."""
