"""A data set in parts, a job each: what comes before and after the passes over the images."""

if SUMS_APART:

    rule sum:
        """The Fourier sums of one shard of a round's particles."""
        input:
            particles="<results>/particles.parquet",
            images=IMAGES,
            cache=CACHE,
            subset=subset,
            previous_sums=previous_sums,
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
            gpu=GPUS,
            backend=CONFIG.backend,
        params:
            *code("sum"),
            settings=settings("sum"),
            script=script("sum"),
            shard=shard,
            optional=lambda wildcards, input: options(
                subset=input.subset, previous_sums=input.previous_sums, cache=input.cache
            ),
        message:
            f"Round {{wildcards.r}}: summing{TELLS_SHARD}"
        shell:
            "CRYOCORE_LOG={log:q} python -P {params.script:q} {input.particles:q} {params.shard:q} {output.sums:q}"
            " {params.optional:q} --settings {params.settings:q} --backend {resources.backend} --threads {threads}"


rule noise:
    """The noise that all shards of a round are scored with."""
    input:
        particles="<results>/particles.parquet",
        images=IMAGES,
        subset=fitted,
        half1="<results>/round_{r}/half1.mrc",
        half2="<results>/round_{r}/half2.mrc",
        mask="<results>/round_{r}/mask.mrc",
        fsc="<results>/round_{r}/fsc.parquet",
        sampling="<results>/round_{r}/sampling.npz",
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
        backend="cpu",
    params:
        *code("noise"),
        settings=settings("noise"),
        script=script("noise"),
        optional=lambda wildcards, input: options(subset=input.subset),
        round_dir=subpath(input.half1, parent=True),
    message:
        "Round {wildcards.r}: estimating the noise"
    shell:
        "CRYOCORE_LOG={log:q} python -P {params.script:q} {input.particles:q} {params.round_dir:q} {output.noise:q}"
        " {params.optional:q} --settings {params.settings:q} --backend {resources.backend} --threads {threads}"


rule gather:
    """The scores of all shards in one table."""
    input:
        particles="<results>/particles.parquet",
        shards=all_parts(SCORED),
    output:
        scores=SCORED,
    log:
        "<logs>/gather/round_{r}.log",
    benchmark:
        "<logs>/gather/round_{r}.tsv"
    group:
        together("choosing", of_next_round=True)
    conda:
        "../envs/cryocore.yaml"
    params:
        *code("gather"),
        script=script("gather"),
    message:
        "Round {wildcards.r}: gathering the scores"
    shell:
        "CRYOCORE_LOG={log:q} python -P {params.script:q} {input.particles:q} {output.scores:q} {input.shards:q}"
