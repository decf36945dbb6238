"""Checks the server, the permissions and the stored streams before the first write."""
