"""Compact transforms of the images, if the configuration asks for them."""


rule cache:
    """Keep the transform of every image, within the band in use and in half precision."""
    input:
        particles="<results>/particles.parquet",
        images=IMAGES,
    output:
        transforms=part_of("<results>/cache/transforms.npz"),
    log:
        f"<logs>/cache{OF_SHARD}.log",
    benchmark:
        f"<logs>/cache{OF_SHARD}.tsv"
    conda:
        "../envs/cryocore.yaml"
    threads: ALL_CORES
    resources:
        gpu=GPUS,
        backend=CONFIG.backend,
    params:
        *code("cache"),
        settings=settings("cache"),
        script=script("cache"),
        optional=lambda wildcards: options(shard=shard(wildcards)),
    message:
        f"Keeping transforms of the images{TELLS_SHARD}"
    shell:
        "CRYOCORE_LOG={log:q} python -P {params.script:q} {input.particles:q} {output.transforms:q} {params.optional:q}"
        " --settings {params.settings:q} --backend {resources.backend} --threads {threads}"
