"""Opens what a user asks for: from a request to an experiment, a problem with its evaluators."""
