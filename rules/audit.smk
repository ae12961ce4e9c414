"""From the finished run to the answers that a referee wants, if the configuration asks for them."""


rule audit:
    """Hold the recommended list beside random ones, and ask whether its selection fits noise."""
    input:
        particles="<results>/particles.parquet",
        images=IMAGES,
        transforms=UNDIVIDED_CACHE,
        rounds="<results>/rounds.parquet",
        log=expand(LOG, r=range(N + 1)),
        subsets=expand("<results>/round_{r}/subset.parquet", r=range(1, N + 1)),
        masks=expand("<results>/round_{r}/mask.mrc", r=range(N + 1)),
        sampling=expand("<results>/round_{r}/sampling.npz", r=range(N + 1)),
        fsc=expand("<results>/round_{r}/fsc.parquet", r=range(N + 1)),
    output:
        page=shown("<results>/audit/audit.html", "audit", "audit"),
        figure=shown("<results>/audit/audit.svg", "audit", "figure of the audit"),
        numbers="<results>/audit/audit.json",
    log:
        "<logs>/audit.log",
    benchmark:
        "<logs>/audit.tsv"
    conda:
        "../envs/cryocore.yaml"
    threads: ALL_CORES
    resources:
        **needs("audit"),
        gpu=GPUS,
        backend=CONFIG.backend,
    params:
        *code("audit"),
        **program("audit"),
        run_dir=subpath(input.rounds, parent=True),
    message:
        "Auditing the recommended list"
    shell:
        command("audit", "{params.run_dir:q}")
