"""What ``import orchestrator`` offers; the command line prints what these return."""
