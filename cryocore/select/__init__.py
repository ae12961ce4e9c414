"""From losses to the particles of the next round."""

from cryocore.select.stage import select

__all__ = ["select"]
