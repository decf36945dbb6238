"""Turns records into stream entries and back, and partition keys into bytes to hash."""
