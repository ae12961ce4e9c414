"""From maps, scores and the truth to evidence."""


rule validate:
    """Measure one round."""
    input:
        **{name: MAPS[name] for name in ("half1", "half2", "map", "mask", "fsc")},
        particles="<results>/particles.parquet",
        scores=LOG,
        truth=KNOWN,
        probability=PROBABILITY,
        true_map=TRUE_MAP,
        batches=BATCHES,
    output:
        metrics="<results>/round_{r}/metrics.json",
    log:
        "<logs>/validate/round_{r}.log",
    benchmark:
        "<logs>/validate/round_{r}.tsv"
    group:
        together("choosing", of_next_round=True)
    conda:
        "../envs/cryocore.yaml"
    resources:
        **needs("validate"),
    params:
        *code("validate"),
        **program("validate"),
        round_dir=subpath(input.map, parent=True),
    message:
        "Round {wildcards.r}: validating"
    shell:
        command("validate", "{input.scores:q} {params.round_dir:q} {output.metrics:q}")


rule report:
    """All rounds in one table, and the page that explains them."""
    input:
        particles="<results>/particles.parquet",
        star=STAR,
        subsets=expand("<results>/round_{r}/subset.{kind}", r=range(1, N + 1), kind=KIND),
        metrics=expand("<results>/round_{r}/metrics.json", r=range(N + 1)),
        examined="<results>/examine.json",
        left_out="<results>/left_out",
        log=expand(LOG, r=range(N + 1)),
        truth=KNOWN,
        probability=expand(PROBABILITY, r=range(N + 1)) if CLASSIFIES else [],
        maps=expand("<results>/round_{r}/map.mrc", r=range(N + 1)),
        halves=expand("<results>/round_{r}/half{h}.mrc", r=[0, N], h=[1, 2]),
        masks=expand("<results>/round_{r}/mask.mrc", r=range(N + 1)),
        fsc=expand("<results>/round_{r}/fsc.parquet", r=range(N + 1)),
        classifier=expand("<results>/round_{r}/classifier", r=range(N + 1)) if CLASSIFIES else [],
    output:
        table="<results>/rounds.parquet",
        text=shown("<results>/rounds.txt", "rounds", "table of rounds"),
        report=shown("<results>/report.html", "report", "report"),
        figures=report(
            directory("<results>/figures"),
            patterns=["{name}.svg", "{name}.png"],
            category="Figures",
            labels={"figure": "{name}"},
        ),
        star=shown(f"<results>/recommended.{KIND}", "recommended", "particles to go on with"),
        assessed=["<results>/assessed.star"] if KIND == "star" else [],
        group_file=["<results>/recommended.csg"] if KIND == "cs" else [],
        script="<results>/maps.cxc",
    log:
        "<logs>/report.log",
    benchmark:
        "<logs>/report.tsv"
    group:
        "report" if SHORT else None
    conda:
        "../envs/cryocore.yaml"
    resources:
        **needs("report"),
    params:
        *code("report"),
        **program("report"),
        run_dir=subpath(output.table, parent=True),
    message:
        "Writing the report"
    shell:
        command(
            "report",
            "{params.run_dir:q} {input.star:q} {output.table:q} {output.report:q} {output.figures:q} {output.star:q}"
            " {output.script:q}" + (" --assessed {output.assessed:q}" if KIND == "star" else ""),
        )
        + " > {output.text:q}"
