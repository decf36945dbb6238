"""Sending: in order per partition, at most once per event."""
