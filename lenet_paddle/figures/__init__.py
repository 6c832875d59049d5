"""Arrays, networks and runs -> pictures."""
