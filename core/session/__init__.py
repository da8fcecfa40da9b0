"""A session: the one stateful object, which the screen drives."""
