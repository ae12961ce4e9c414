"""From residual images to the probability of being correct, if the configuration asks for it."""


rule classify:
    """The probability that a classifier gives each particle of a round."""
    input:
        **REFERENCE_MAPS,
        particles="<results>/particles.parquet",
        images=IMAGES,
        cache=UNDIVIDED_CACHE,
        scores=LOG,
        subset=fitted,
        description=given_model(),
        network=start_network(),
    output:
        probability=PROBABILITY,
        classifier=directory("<results>/round_{r}/classifier"),
    log:
        "<logs>/classify/round_{r}.log",
    benchmark:
        "<logs>/classify/round_{r}.tsv"
    group:
        together()
    conda:
        "../envs/cryocore.yaml" if CONFIG.classify.model in ("logistic", "boosting") else "../envs/learn.yaml"
    threads: ALL_CORES
    resources:
        **needs("classify"),
        gpu=GPUS,
        backend=CONFIG.backend,
    params:
        *code("classify"),
        **program("classify"),
        round_dir=subpath(input.half1, parent=True),
        model=["--model", CONFIG.classify.model] if given_model() else [],
    message:
        "Round {wildcards.r}: classifying"
    shell:
        command(
            "classify",
            "{input.particles:q} {input.scores:q} {params.round_dir:q} {output.probability:q} {output.classifier:q}"
            " {params.model:q}",
        )
