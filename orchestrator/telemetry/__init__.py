"""What a run tells while it runs: the event log, progress, the local Ray session."""
