"""Figures of data and results: samples, curves, confusion, mistakes, embedding."""
