"""cryocore: find the particles of a single-particle data set that belong in its map.

    ingest -> reconstruct -> score -> select -> reconstruct -> ... -> validate -> report

Round 0 is the map of all particles; every further round keeps the best-scoring ones. All rounds are laid out
before the first job starts, so that `snakemake -n` shows the whole run.
"""

from snakemake.utils import min_version

min_version("9.20")


# The demo's settings hold only if no other file of settings is given: they never mix.
if not workflow.overwrite_configfiles:

    configfile: workflow.source_path("config.yaml")


include: "rules/common.smk"


wildcard_constraints:
    r=r"\d+",
    s=r"\d+",


pathvars:
    results=f"results/{CONFIG.run}",
    logs=f"logs/{CONFIG.run}",


rule all:
    """The rounds in one table, the page that explains them, the log, and the particles that are left."""
    default_target: True
    input:
        rounds="<results>/rounds.parquet",
        report="<results>/report.html",
        log=expand("<results>/log/round={r}/log.parquet", r=range(N + 1)),
        star=f"<results>/round_{N}/subset.{KIND}",
        finest=f"<results>/finest.{KIND}",


include: "rules/ingest.smk"
include: "rules/cache.smk"
include: "rules/reconstruct.smk"
include: "rules/score.smk"


if SHARDED:

    include: "rules/shards.smk"


if CLASSIFIES:

    include: "rules/classify.smk"


include: "rules/select.smk"
include: "rules/validate.smk"


onsuccess:
    print_rounds()


onerror:
    print_failures()
