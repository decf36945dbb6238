"""Benchmarks: Runnel against a hand-written loop, in the same run, on a server of its own.

`scripts/bench` is the command, ``docs/benchmarks.md`` says what is measured and how.
"""
