"""What operators do: inspect, pause, resume, reset, skip, remove, delete."""
