"""From residual images to the probability that a particle is right."""
