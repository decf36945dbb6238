"""Sends records: in order per partition, each at most once."""
