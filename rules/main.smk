"""The stages of the workflow, with what all of them share."""

from snakemake.utils import min_version

min_version("9.20")


# The demo's settings hold only if no other file of settings is given: they never mix.
if not workflow.overwrite_configfiles:

    configfile: workflow.source_path("../config.yaml")


include: "common.smk"


wildcard_constraints:
    r=r"\d+",
    s=r"\d+",


pathvars:
    results=f"results/{CONFIG.run}",
    logs=f"logs/{CONFIG.run}",


RESULTS = {
    "rounds": "<results>/rounds.parquet",
    "report": "<results>/report.html",
    "log": expand(LOG, r=range(N + 1)),
    "star": f"<results>/round_{N}/subset.{KIND}",
    "recommended": f"<results>/recommended.{KIND}",
}
if CONFIG.audit:
    RESULTS["audit"] = "<results>/audit/audit.html"
if CONFIG.refine.enabled:
    RESULTS["refine"] = "<results>/refine/refine.txt"


include: "ingest.smk"
include: "cache.smk"


if CONFIG.reconstruct.method == "iterative":

    include: "reconstruct_iterative.smk"

elif SHARDED:

    include: "reconstruct_shards.smk"

else:

    include: "reconstruct_direct.smk"


include: "examine.smk"
include: "score.smk"


if SHARDED:

    include: "shards.smk"


if CLASSIFIES:

    include: "classify.smk"


if TRUTH:

    include: "truth.smk"


include: "select.smk"
include: "look.smk"
include: "validate.smk"


if CONFIG.audit:

    include: "audit.smk"


if CONFIG.refine.enabled:

    include: "refine.smk"


onstart:
    watch_scheduler()


onsuccess:
    print_rounds()


onerror:
    print_failures()
