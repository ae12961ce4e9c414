"""Files to data: STAR files and stacks become a checked table of particles; simulations and planted errors make files.

:mod:`cryocore.ingest.particles` reads real and simulated data alike, :mod:`cryocore.ingest.simulate` writes a synthetic
data set, :mod:`cryocore.ingest.plant` puts errors into a real one, and :mod:`cryocore.ingest.dataset` is what training
code iterates over (it needs torch).
"""
