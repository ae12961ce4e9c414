"""From particles to half maps, by Fourier inversion."""

SUMS = "<results>/round_{r}/sums.npz"
KEEPS_SUMS = CONFIG.reconstruct.full_every > 1
BATCHES = []
fitted = subset  # the weights of the particles in the map of a round


rule reconstruct:
    """Both half maps of a round's particles, their FSC and the merged map; round 0 also decides on the mask."""
    input:
        particles="<results>/particles.parquet",
        images=IMAGES,
        cache=CACHE,
        subset=subset,
        mask=mask,
        previous_sums=previous_sums(SUMS),
        previous_map=before_if_selected(MAPS["map"]),
    output:
        **MAPS,
        sums=SUMS if KEEPS_SUMS else [],
    log:
        "<logs>/reconstruct/round_{r}.log",
    benchmark:
        "<logs>/reconstruct/round_{r}.tsv"
    group:
        together("choosing")
    conda:
        "../envs/cryocore.yaml"
    threads: ALL_CORES
    resources:
        **needs("reconstruct"),
        gpu=GPUS,
        backend=CONFIG.backend,
    params:
        *code("reconstruct"),
        **program("reconstruct"),
        out_dir=subpath(output.map, parent=True),
    message:
        "Round {wildcards.r}: reconstructing"
    shell:
        command("reconstruct", "{input.particles:q} {params.out_dir:q}")
