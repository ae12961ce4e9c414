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
        gpu=GPUS,
        backend=CONFIG.backend,
    params:
        *code("reconstruct"),
        settings=settings("reconstruct"),
        script=script("reconstruct"),
        optional=lambda wildcards, input: options(
            subset=input.subset, mask=input.mask, previous_sums=input.previous_sums, cache=input.cache
        ),
        out_dir=subpath(output.map, parent=True),
    message:
        "Round {wildcards.r}: reconstructing"
    shell:
        "CRYOCORE_LOG={log:q} python -P {params.script:q} {input.particles:q} {params.out_dir:q}"
        " {params.optional:q} --settings {params.settings:q}"
        " --backend {resources.backend} --threads {threads}"
