"""Worker processes: pools of them, and who gets which order."""
