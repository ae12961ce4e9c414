"""From maps to the loss of every particle."""


rule score:
    """Compare particles, kept or not, with the maps of a round."""
    input:
        **REFERENCE_MAPS,
        particles="<results>/particles.parquet",
        images=IMAGES,
        cache=CACHE,
        subset=fitted,
        previous_log=before_if_selected(LOG),
        noise="<results>/round_{r}/noise.npz" if SHARDED else [],
    output:
        scores=temp(SCORED) if SHARDED else SCORED,
    log:
        f"<logs>/score/round_{{r}}{OF_SHARD}.log",
    benchmark:
        f"<logs>/score/round_{{r}}{OF_SHARD}.tsv"
    group:
        together()
    conda:
        "../envs/cryocore.yaml"
    threads: ALL_CORES
    resources:
        **needs("score"),
        gpu=GPUS,
        backend=CONFIG.backend,
    params:
        *code("score"),
        **program("score"),
        round_dir=subpath(input.half1, parent=True),
    message:
        f"Round {{wildcards.r}}: scoring{TELLS_SHARD}"
    shell:
        command("score", "{input.particles:q} {params.round_dir:q} {output.scores:q} --round {wildcards.r}")
