"""From the data set as a whole to what should be known of it before its maps are believed."""


rule examine:
    """Ask whether the particles have the point group of the run, and whether some are there twice."""
    input:
        particles="<results>/particles.parquet",
        images=IMAGES,
        mask="<results>/round_0/mask.mrc",
    output:
        answers="<results>/examine.json",
        duplicates="<results>/duplicates.parquet",
    log:
        "<logs>/examine.log",
    benchmark:
        "<logs>/examine.tsv"
    group:
        "report" if SHORT else None
    conda:
        "../envs/cryocore.yaml"
    threads: ALL_CORES
    resources:
        **needs("examine"),
        gpu=0,
        backend="cpu",
    params:
        *code("examine"),
        **program("examine"),
        round_dir=subpath(input.mask, parent=True),
    message:
        "Examining the data set"
    shell:
        command("examine", "{input.particles:q} {params.round_dir:q} {output.answers:q}")
