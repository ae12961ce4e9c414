"""From particles to half maps by iteration: a robust loss is minimised with an optimiser of torch.

:mod:`~cryocore.solve.operators` A and Aᵀ for autograd, :mod:`~cryocore.solve.symmetry` maps in a point group,
:mod:`~cryocore.solve.losses` what a residual costs, :mod:`~cryocore.solve.sweep` one pass over the images,
:mod:`~cryocore.solve.model` the unknown and its prior, :mod:`~cryocore.solve.optimise` the epochs,
:mod:`~cryocore.solve.stage` files in and out. It needs torch.
"""

from cryocore.errors import InputError

try:
    import torch as _torch  # noqa: F401
except ImportError:
    raise InputError(
        "torch is not installed", setting="reconstruct.method", fix="Install cryocore[learn], or use method: direct"
    ) from None

from cryocore.solve.ranks import Ranks, started_ranks
from cryocore.solve.stage import solve

__all__ = ["Ranks", "solve", "started_ranks"]
