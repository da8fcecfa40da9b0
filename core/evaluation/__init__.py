"""The numbers of a circuit: its metrics, and the passes that compute them."""
