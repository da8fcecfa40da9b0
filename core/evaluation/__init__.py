"""The numbers of a circuit: metrics, and the passes that compute them."""
