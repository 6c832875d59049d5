"""Measure the speed of this project and of other frameworks on the same task."""
