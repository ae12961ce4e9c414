"""Files to data: files of particles and stacks of images become a checked table.

:mod:`cryocore.ingest.particles` reads real and simulated data alike, :mod:`cryocore.ingest.cache` keeps transforms
of the images, and :mod:`cryocore.ingest.dataset` is what training code iterates over (it needs torch).
"""
