"""cryocore: find the particles of a single-particle data set that belong in its map.

    ingest -> reconstruct -> score -> select -> reconstruct -> ... -> validate -> report

Round 0 is the map of all particles; every further round keeps the best-scoring ones. All rounds are laid out
before the first job starts, so that `snakemake -n` shows the whole run.
"""


include: "rules/main.smk"


rule all:
    """The rounds in one table, the page that explains them, the log, and the particles that are left."""
    default_target: True
    input:
        **RESULTS,
