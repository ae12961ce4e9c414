"""Compact transforms of the images, if the configuration asks for them."""


rule cache:
    """Keep the transform of every image, within the band in use and in half precision."""
    input:
        particles="<results>/particles.parquet",
        images=IMAGES,
    output:
        transforms="<results>/cache/transforms.npz",
    log:
        "<logs>/cache.log",
    benchmark:
        "<logs>/cache.tsv"
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
    message:
        "Keeping transforms of the images"
    shell:
        "CRYOCORE_LOG={log:q} python -P {params.script:q} {input.particles:q} {output.transforms:q}"
        " --settings {params.settings:q} --backend {resources.backend} --threads {threads}"
