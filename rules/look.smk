"""From the last round to pictures of what it leaves out."""


rule look:
    """Draw some particles of each kind, and reconstruct what is left out."""
    input:
        **{name: file.replace("{r}", str(N)) for name, file in REFERENCE_MAPS.items()},
        particles="<results>/particles.parquet",
        images=IMAGES,
        transforms=UNDIVIDED_CACHE,
        scores=LOG.replace("{r}", str(N)),
        subset=f"<results>/round_{N}/subset.parquet",
    output:
        pictures=directory("<results>/left_out"),
    log:
        "<logs>/look.log",
    benchmark:
        "<logs>/look.tsv"
    group:
        "report" if SHORT else None
    conda:
        "../envs/cryocore.yaml"
    threads: ALL_CORES
    resources:
        **needs("look"),
        gpu=0 if SHORT else GPUS,
        backend="cpu" if SHORT else CONFIG.backend,
    params:
        *code("look"),
        **program("look"),
        run_dir=subpath(input.particles, parent=True),
        last=N,
    message:
        "Looking at what is left out"
    shell:
        command("look", "{params.run_dir:q} {output.pictures:q} --round {params.last:q}")
