"""From particles to half maps, by minimising a robust loss."""

PROCESSES = CONFIG.reconstruct.iterative.processes
FITTED = {name: f"<results>/round_{{r}}/{name}.parquet" for name in ("weights", "epochs", "batches")}
BATCHES = FITTED["batches"]


def fitted(wildcards):
    """The weights of the particles in the map of a round: the loss gives its own."""
    return FITTED["weights"]


def launcher():
    """What runs the program, a resource, since it decides where a job runs: Python, or torchrun where several processes share the particles."""
    many = f"-m torch.distributed.run --standalone --nproc-per-node {PROCESSES}"
    return f"env PYTHONSAFEPATH=1 python {many}" if PROCESSES > 1 else "python -P"


rule reconstruct:
    """Both half maps of a round's particles, their FSC and the merged map; round 0 also decides on the mask."""
    input:
        particles="<results>/particles.parquet",
        images=IMAGES,
        cache=UNDIVIDED_CACHE,
        subset=subset,
        mask=mask,
        previous_map=before_if_selected(MAPS["map"]),
    output:
        **MAPS,
        **FITTED,
    log:
        "<logs>/reconstruct/round_{r}.log",
    benchmark:
        "<logs>/reconstruct/round_{r}.tsv"
    group:
        together("choosing")
    conda:
        "../envs/learn.yaml"
    threads: ALL_CORES
    resources:
        **needs("solve"),
        gpu=GPUS * PROCESSES,
        backend=CONFIG.backend,
        launcher=launcher(),
    params:
        *code("solve"),
        **program("solve", configured_as="reconstruct"),
        out_dir=subpath(output.map, parent=True),
    message:
        "Round {wildcards.r}: reconstructing"
    shell:
        command("solve", "{input.particles:q} {params.out_dir:q}", launcher="{resources.launcher}")
