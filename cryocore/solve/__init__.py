"""From particles to half maps by iteration: a robust loss is minimised with an optimiser of torch.

:mod:`~cryocore.solve.operators` A and Aᵀ for autograd, :mod:`~cryocore.solve.losses` what a residual costs,
:mod:`~cryocore.solve.sweep` one pass over the images, :mod:`~cryocore.solve.model` the unknown and its prior,
:mod:`~cryocore.solve.optimise` the epochs, :mod:`~cryocore.solve.stage` files in and out. It needs torch.
"""
