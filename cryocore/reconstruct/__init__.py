"""From particles to half maps: insert every image's slice, then solve the normal equations."""

from cryocore.reconstruct.stage import reconstruct, sum_shard

__all__ = ["reconstruct", "sum_shard"]
