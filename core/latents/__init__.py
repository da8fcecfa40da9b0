"""What single latents do: which tokens they promote, which answers they push, where they fire, what they contribute."""
