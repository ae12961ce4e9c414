"""From particles to half maps: insert every image's slice, then solve the normal equations."""

from cryocore.reconstruct.stage import reconstruct

__all__ = ["reconstruct"]
