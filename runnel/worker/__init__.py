"""Carries out what the core decides: tasks of asyncio, calls of Redis, signals."""
