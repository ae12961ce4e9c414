"""Particles: simulated, or read from a file of them, with or without planted errors."""


rule simulate:
    """Make a synthetic data set with planted errors, and the truth about it."""
    input:
        volume=given(CONFIG.input.simulate.volume),
        poses=given(CONFIG.input.simulate.poses),
        micrographs=given(CONFIG.input.simulate.micrographs),
        background_images=given(CONFIG.input.simulate.background_images),
    output:
        star="<results>/simulated/particles.star",
        images="<results>/simulated/particles.mrcs",
        truth="<results>/simulated/truth.parquet",
        true_map="<results>/simulated/true_map.mrc",
    log:
        "<logs>/simulate.log",
    benchmark:
        "<logs>/simulate.tsv"
    group:
        "particles"
    conda:
        "../envs/cryocore.yaml"
    threads: ALL_CORES
    resources:
        **needs("simulate"),
        gpu=GPUS,
        backend=CONFIG.backend,
    params:
        *code("simulate"),
        **program("simulate"),
        out_dir=subpath(output.star, parent=True),
    message:
        "Simulating particles"
    shell:
        command("simulate", "{params.out_dir:q}")


rule join:
    """Make one file of particles of several."""
    input:
        sources=SOURCES,
    output:
        star="<results>/joined/particles.star",
    log:
        "<logs>/join.log",
    benchmark:
        "<logs>/join.tsv"
    group:
        "particles"
    conda:
        "../envs/cryocore.yaml"
    resources:
        **needs("join"),
    params:
        *code("join"),
        **program("join"),
    message:
        "Joining {input.sources}"
    shell:
        command("join", "{output.star:q} {input.sources:q}")


rule plant:
    """Plant errors into a real data set, and write down which."""
    input:
        star=SOURCE,
        passthrough=given(CONFIG.input.passthrough),
    output:
        star="<results>/planted/particles.star",
        truth="<results>/planted/truth.parquet",
        images=["<results>/planted/junk.mrcs"] if CONFIG.input.plant.junk > 0 else [],
    log:
        "<logs>/plant.log",
    benchmark:
        "<logs>/plant.tsv"
    group:
        "particles"
    conda:
        "../envs/cryocore.yaml"
    resources:
        **needs("plant"),
    params:
        *code("plant"),
        **program("plant"),
        out_dir=subpath(output.star, parent=True),
    message:
        "Planting errors into {input.star}"
    shell:
        command("plant", "{input.star:q} {params.out_dir:q}")


rule ingest:
    """Check every particle of the file and write the particle table."""
    input:
        star=STAR,
        images=IMAGES,
        passthrough=given(CONFIG.input.passthrough) if STAR in SOURCES else [],
    output:
        particles="<results>/particles.parquet",
    log:
        "<logs>/ingest.log",
    benchmark:
        "<logs>/ingest.tsv"
    group:
        "particles"
    conda:
        "../envs/cryocore.yaml"
    resources:
        **needs("ingest"),
    params:
        *code("ingest"),
        **program("ingest"),
    message:
        "Reading {input.star}"
    shell:
        command("ingest", "{input.star:q} {output.particles:q}")
