"""Whole jobs, the only place that knows all packages."""
