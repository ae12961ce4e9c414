"""Names of what is known of a particle beside its scores; without NumPy, since settings are checked by them."""

MIXTURE = "mixture"
"""Column of the log: log odds of being correct."""
PROBABILITY = "probability"
"""Column of probability.parquet: that of being correct, by a classifier."""
TRUTH = "is_correct"
"""Column of truth.parquet: whether a particle is right, null where that is unknown."""
