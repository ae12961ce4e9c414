"""From losses to the particles of the next round."""
