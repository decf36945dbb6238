"""Measures Runnel against a hand-written loop, in the same run, on servers of its own.

`scripts/bench` is the command; ``docs/benchmarks.md`` says what it measures and how.
"""
