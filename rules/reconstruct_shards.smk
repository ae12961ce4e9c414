"""From particles to half maps, by Fourier inversion of sums that a job per shard makes."""

SUMS = part_of("<results>/round_{r}/sums.npz")
KEEPS_SUMS = CONFIG.reconstruct.full_every > 1
BATCHES = []
fitted = subset  # the weights of the particles in the map of a round


rule sum:
    """The Fourier sums of one shard of a round's particles."""
    input:
        particles="<results>/particles.parquet",
        images=IMAGES,
        cache=CACHE,
        subset=subset,
        previous_sums=previous_sums(SUMS),
    output:
        sums=SUMS if KEEPS_SUMS else temp(SUMS),
    log:
        f"<logs>/sum/round_{{r}}{OF_SHARD}.log",
    benchmark:
        f"<logs>/sum/round_{{r}}{OF_SHARD}.tsv"
    conda:
        "../envs/cryocore.yaml"
    threads: ALL_CORES
    resources:
        **needs("sum"),
        gpu=GPUS,
        backend=CONFIG.backend,
    params:
        *code("sum"),
        **program("sum"),
    message:
        f"Round {{wildcards.r}}: summing{TELLS_SHARD}"
    shell:
        command("sum", "{input.particles:q} {output.sums:q}")


rule reconstruct:
    """Both half maps of a round's particles, their FSC and the merged map; round 0 also decides on the mask."""
    input:
        particles="<results>/particles.parquet",
        subset=subset,
        mask=mask,
        sums=all_parts("<results>/round_{r}/sums.npz"),
        previous_map=before_if_selected(MAPS["map"]),
    output:
        **MAPS,
    log:
        "<logs>/reconstruct/round_{r}.log",
    benchmark:
        "<logs>/reconstruct/round_{r}.tsv"
    group:
        together("solving")
    conda:
        "../envs/cryocore.yaml"
    threads: ALL_CORES
    resources:
        **needs("reconstruct"),
        gpu=0,
        backend="cpu",
    params:
        *code("reconstruct"),
        **program("reconstruct"),
        out_dir=subpath(output.map, parent=True),
    message:
        "Round {wildcards.r}: reconstructing"
    shell:
        command("reconstruct", "{input.particles:q} {params.out_dir:q}")
