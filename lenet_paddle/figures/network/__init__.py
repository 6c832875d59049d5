"""Looks into a network: filters, features, saliency, architecture."""
