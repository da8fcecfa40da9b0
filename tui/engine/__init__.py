"""The engine: the thread that owns torch, its commands, and the state it publishes."""
