"""Direct feature attribution on one prompt: what adds up to a latent or a logit, back to the embeddings."""
