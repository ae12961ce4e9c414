"""From the finished run to maps at poses that RELION refines anew, if the configuration asks for them."""

REFINED = ("half1.mrc", "half2.mrc", "refined.star", "refined.json")


wildcard_constraints:
    which="all|recommended",


rule refine:
    """Refine the poses of all, or of the recommended particles, from the same low-passed map."""
    input:
        particles="<results>/particles.parquet",
        images=IMAGES,
        rounds="<results>/rounds.parquet",
        subsets=expand("<results>/round_{r}/subset.parquet", r=range(1, N + 1)),
        halves=expand("<results>/round_{r}/half{h}.mrc", r=range(N + 1), h=(1, 2)),
        reference="<results>/round_0/map.mrc",
        mask="<results>/round_0/mask.mrc",
    output:
        expand("<results>/refine/{{which}}/{file}", file=REFINED),
    log:
        "<logs>/{which}/refine.log",
    benchmark:
        "<logs>/{which}/refine.tsv"
    conda:
        "../envs/cryocore.yaml"
    threads: ALL_CORES
    resources:
        **needs("refine"),
        gpu=GPUS if "--gpu" in (CONFIG.refine.options or "") else 0,
    params:
        *code("refine"),
        **program("refine"),
        run_dir=subpath(input.rounds, parent=True),
        out_dir=subpath(output[0], parent=True),
    message:
        "Refining poses anew: {wildcards.which}"
    shell:
        command("refine", "{params.run_dir:q} {wildcards.which:q} {params.out_dir:q} --threads {threads}")


rule refined:
    """Put what came of both lists side by side."""
    input:
        numbers=expand("<results>/refine/{which}/refined.json", which=("all", "recommended")),
        particles="<results>/particles.parquet",
    output:
        table="<results>/refine/refine.txt",
        figure=shown("<results>/refine/refine.svg", "refine", "FSC at refined poses"),
        numbers="<results>/refine/refine.json",
    log:
        "<logs>/refined.log",
    benchmark:
        "<logs>/refined.tsv"
    conda:
        "../envs/cryocore.yaml"
    resources:
        **needs("refined"),
    params:
        *code("refined"),
        **program("refined"),
        folders=lambda wildcards, input: [str(Path(file).parent) for file in input.numbers],
        out_dir=subpath(output.table, parent=True),
    message:
        "Comparing the refined maps"
    shell:
        command("refined", "{params.folders:q} --out {params.out_dir:q}")
