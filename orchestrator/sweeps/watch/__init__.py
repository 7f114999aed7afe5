"""What a running sweep tells: its status, in words and as a table, its event log, and metrics for Prometheus."""
