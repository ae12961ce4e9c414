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
        **needs("cache"),
        gpu=GPUS,
        backend=CONFIG.backend,
    params:
        *code("cache"),
        **program("cache"),
    message:
        f"Keeping transforms of the images{TELLS_SHARD}"
    shell:
        command("cache", "{input.particles:q} {output.transforms:q}")
