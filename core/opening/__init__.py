"""From a request to an open problem and its evaluators."""
