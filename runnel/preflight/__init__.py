"""Checks before the first write: the server, the permissions, the stored streams."""
