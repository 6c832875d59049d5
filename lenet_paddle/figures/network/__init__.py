"""Figures of a network's inside: filters, features, saliency, architecture."""
