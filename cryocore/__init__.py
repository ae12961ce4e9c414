"""Find the particles of a single-particle cryo-EM data set that belong in its map.

The loop, with poses fixed::

    ingest        files -> a table of particles: pose, shift, CTF, half set
    reconstruct   particles of the round -> two half maps        (round 0: all particles)
    examine       images and poses of round 0 -> the point group of the run? particles that are there twice?
    score         map, projected at every pose -> how well each particle fits
    select        scores -> the particles of the next round
    validate      half maps, scores, truth where known -> resolution, error rates, report

Each stage is a package with one verb, called by the script of the same name. Packages lie in layers, and import what
lies below them::

    commands
    report, workflow
    convert, explore                files of other programs, questions to a finished run
    the stages                      ingest, simulate, reconstruct, examine, score, select,
                                    validate, classify
    config                          their settings
    log                             what they write of each particle
    imaging, maps
    formats, figures, training
    tables
    geometry, backend
    errors, conventions, ...        modules that any other may import

``tests/test_layers.py`` lists the few stages that import another, and why.
"""

__version__ = "0.1.0"
