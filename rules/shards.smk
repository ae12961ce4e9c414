"""A data set in parts, a job each: what comes before and after the passes over the images that score."""


rule noise:
    """The noise that all shards of a round are scored with."""
    input:
        **REFERENCE_MAPS,
        particles="<results>/particles.parquet",
        images=IMAGES,
        subset=fitted,
    output:
        noise="<results>/round_{r}/noise.npz",
    log:
        "<logs>/noise/round_{r}.log",
    benchmark:
        "<logs>/noise/round_{r}.tsv"
    group:
        together("solving")
    conda:
        "../envs/cryocore.yaml"
    threads: ALL_CORES
    resources:
        **needs("noise"),
        gpu=0,
        backend="cpu",
    params:
        *code("noise"),
        **program("noise"),
        round_dir=subpath(input.half1, parent=True),
    message:
        "Round {wildcards.r}: estimating the noise"
    shell:
        command("noise", "{input.particles:q} {params.round_dir:q} {output.noise:q}")


rule gather:
    """The log of a round from the scores of its shards."""
    input:
        particles="<results>/particles.parquet",
        shards=all_parts("<results>/round_{r}/scores.parquet"),
    output:
        log=LOG,
    log:
        "<logs>/gather/round_{r}.log",
    benchmark:
        "<logs>/gather/round_{r}.tsv"
    group:
        together("choosing", of_next_round=True)
    conda:
        "../envs/cryocore.yaml"
    resources:
        **needs("gather"),
    params:
        *code("gather"),
        **program("gather"),
    message:
        "Round {wildcards.r}: gathering the scores"
    shell:
        command("gather", "{input.particles:q} {output.log:q} {input.shards:q}")
