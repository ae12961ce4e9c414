"""From losses to the particles of the next round."""


rule select:
    """Keep the best-scoring particles of each half set."""
    input:
        particles="<results>/particles.parquet",
        scores=previous_scores,
    output:
        table="<results>/round_{r}/subset.parquet",
        star=f"<results>/round_{{r}}/subset.{KIND}",
        group_file=["<results>/round_{r}/subset.csg"] if KIND == "cs" else [],
    log:
        "<logs>/select/round_{r}.log",
    benchmark:
        "<logs>/select/round_{r}.tsv"
    group:
        together("choosing")
    conda:
        "../envs/cryocore.yaml"
    params:
        *code("select"),
        settings=settings("select"),
        script=script("select"),
    message:
        "Round {wildcards.r}: selecting"
    shell:
        "CRYOCORE_LOG={log:q} python -P {params.script:q} {input.particles:q} {input.scores:q}"
        " {output.table:q} {output.star:q} {wildcards.r} --settings {params.settings:q}"
