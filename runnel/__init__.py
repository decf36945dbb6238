"""Runnel: distributed event processing for Python on Redis Streams."""
