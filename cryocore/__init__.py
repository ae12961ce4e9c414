"""Find the particles of a single-particle cryo-EM data set that belong in its map.

The loop, with poses fixed::

    ingest        files -> a table of particles: pose, shift, CTF, half set
    reconstruct   particles of the round -> two half maps        (round 0: all particles)
    score         map, projected at every pose -> how well each particle fits
    select        scores -> the particles of the next round
    validate      half maps, scores, truth where known -> resolution, error rates, report

Each stage is a package with one verb, called by the script of the same name. Stages share the foundations
``data``, ``files``, ``errors``, ``settings``, ``conventions``, ``star``, ``images``, ``geometry``, ``imaging``,
``maps`` and ``backend``, and never import each other.
"""

__version__ = "0.1.0"
