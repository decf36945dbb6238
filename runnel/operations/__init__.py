"""The operations of operators: inspect, pause, resume, reset, skip, remove, delete."""
