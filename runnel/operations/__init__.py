"""What operators ask and do: inspect, pause, resume, reset, remove."""
