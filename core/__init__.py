"""Headless library: tasks, model, SAEs, splice, search, session. Imports nothing of the screen."""
