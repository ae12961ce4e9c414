"""From losses to the particles of the next round."""


rule select:
    """Keep the best-scoring particles of each half set."""
    input:
        particles="<results>/particles.parquet",
        scores=before(LOG),
        probability=before(PROBABILITY),
        last_subset=before_if_selected("<results>/round_{r}/subset.parquet"),
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
    resources:
        **needs("select"),
    params:
        *code("select"),
        **program("select"),
    message:
        "Round {wildcards.r}: selecting"
    shell:
        command("select", "{input.particles:q} {input.scores:q} {output.table:q} {output.star:q} --round {wildcards.r}")
