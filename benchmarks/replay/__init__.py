"""Time and memory of replays of large logs."""
