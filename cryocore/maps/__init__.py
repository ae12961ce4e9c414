"""Volumes: MRC files, masks and Fourier shell correlation."""

from cryocore.maps.fsc import fsc, fsc_weight, half_map_fsc, resolution_at, shell_index
from cryocore.maps.masks import automatic_mask, soft_ball
from cryocore.maps.mrc import read_map, write_map, write_stack

__all__ = [
    "automatic_mask",
    "fsc",
    "fsc_weight",
    "half_map_fsc",
    "read_map",
    "resolution_at",
    "shell_index",
    "soft_ball",
    "write_map",
    "write_stack",
]
