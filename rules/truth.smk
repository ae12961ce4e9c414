"""What is known of the particles; only evidence is made of it."""


rule truth:
    """What is known of the particles, checked, beside the log."""
    input:
        particles="<results>/particles.parquet",
        source=TRUTH,
    output:
        truth="<results>/truth.parquet",
    log:
        "<logs>/truth.log",
    benchmark:
        "<logs>/truth.tsv"
    group:
        "particles"
    conda:
        "../envs/cryocore.yaml"
    resources:
        **needs("truth"),
    params:
        *code("truth"),
        **program("truth"),
    message:
        "Checking the truth"
    shell:
        command("truth", "{input.particles:q} {input.source:q} {output.truth:q}")
