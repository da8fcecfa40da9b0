"""Worker processes, and who gives them work."""
