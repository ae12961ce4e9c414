"""From particles to half maps by iteration: a robust loss is minimised with an optimiser of torch.

``operators`` A and Aᵀ for autograd, ``symmetry`` maps in a point group,
``losses`` what a residual costs, ``sweep`` one pass over the images,
``model`` the unknown and its prior, ``optimise`` the epochs,
``stage`` files in and out. It needs torch.
"""

from cryocore.errors import InputError

try:
    import torch as _torch  # noqa: F401
except ImportError:
    raise InputError(
        "torch is not installed", setting="reconstruct.method", fix="Install cryocore[learn], or use method: direct"
    ) from None

from cryocore.reconstruct.iterative.ranks import Ranks, started_ranks
from cryocore.reconstruct.iterative.stage import solve

__all__ = ["Ranks", "solve", "started_ranks"]
