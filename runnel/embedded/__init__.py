"""Starts a local server for a first run, for demos and for tests."""
