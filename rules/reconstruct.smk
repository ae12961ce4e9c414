"""From particles to half maps: by Fourier inversion, or by minimising a robust loss (reconstruct.method)."""

METHOD = "solve" if ITERATIVE else "reconstruct"
PROCESSES = CONFIG.reconstruct.iterative.processes if ITERATIVE else 1


rule reconstruct:
    """Both half maps of a round's particles, their FSC and the merged map; round 0 also decides on the mask."""
    input:
        particles="<results>/particles.parquet",
        images=[] if SUMS_APART else IMAGES,
        cache=[] if SUMS_APART else UNDIVIDED_CACHE,
        subset=subset,
        mask=mask,
        previous_sums=[] if SUMS_APART else previous_sums,
        sums=all_parts("<results>/round_{r}/sums.npz") if SUMS_APART else [],
    output:
        half1="<results>/round_{r}/half1.mrc",
        half2="<results>/round_{r}/half2.mrc",
        map="<results>/round_{r}/map.mrc",
        mask="<results>/round_{r}/mask.mrc",
        fsc="<results>/round_{r}/fsc.parquet",
        sampling="<results>/round_{r}/sampling.npz",
        sums=SUMS if KEEPS_SUMS and not SUMS_APART else [],
        fit=[f"<results>/round_{{r}}/{name}.parquet" for name in ("weights", "epochs", "batches") if ITERATIVE],
    log:
        "<logs>/reconstruct/round_{r}.log",
    benchmark:
        "<logs>/reconstruct/round_{r}.tsv"
    group:
        together("solving" if SUMS_APART else "choosing")
    conda:
        "../envs/learn.yaml" if ITERATIVE else "../envs/cryocore.yaml"
    threads: ALL_CORES
    resources:
        gpu=0 if SUMS_APART else GPUS * PROCESSES,
        backend="cpu" if SUMS_APART else CONFIG.backend,
        launcher=launcher(PROCESSES),
    params:
        *code(METHOD),
        settings=settings("reconstruct"),
        script=script(METHOD),
        optional=lambda wildcards, input: options(
            subset=input.subset,
            mask=input.mask,
            previous_sums=input.previous_sums,
            cache=input.cache,
            sums=input.sums,
        ),
        out_dir=subpath(output.map, parent=True),
    message:
        "Round {wildcards.r}: reconstructing"
    shell:
        "CRYOCORE_LOG={log:q} {resources.launcher} {params.script:q} {input.particles:q} {params.out_dir:q}"
        " {params.optional:q} --settings {params.settings:q}"
        " --backend {resources.backend} --threads {threads}"
