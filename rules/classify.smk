"""From residual images to the probability of being right, if the configuration asks for it."""


rule classify:
    """Add the probability of a classifier to the scores of a round."""
    input:
        **JUDGES,
        particles="<results>/particles.parquet",
        images=IMAGES,
        cache=UNDIVIDED_CACHE,
        scores="<results>/round_{r}/band_scores.parquet",
        subset=fitted,
        model=given_model(),
    output:
        scores="<results>/round_{r}/scores.parquet",
        classifier=directory("<results>/round_{r}/classifier"),
    log:
        "<logs>/classify/round_{r}.log",
    benchmark:
        "<logs>/classify/round_{r}.tsv"
    conda:
        "../envs/cryocore.yaml" if CONFIG.classify.model in ("logistic", "boosting") else "../envs/learn.yaml"
    threads: ALL_CORES
    resources:
        gpu=GPUS,
        backend=CONFIG.backend,
    params:
        *code("classify"),
        settings=settings("classify"),
        script=script("classify"),
        optional=lambda wildcards, input: options(
            subset=input.subset, cache=input.cache, model=input.model and str(Path(input.model).parent)
        ),
        round_dir=subpath(input.half1, parent=True),
    message:
        "Round {wildcards.r}: classifying"
    shell:
        "CRYOCORE_LOG={log:q} python -P {params.script:q} {input.particles:q} {input.scores:q} {params.round_dir:q}"
        " {output.scores:q} {output.classifier:q} {params.optional:q} --settings {params.settings:q}"
        " --backend {resources.backend} --threads {threads}"
