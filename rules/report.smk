rule summarise:
    input:
        evaluations=evaluations_of_grid,
    output:
        summary=RESULTS / "summary.csv",
    log:
        RESULTS / "logs/summarise.log",
    benchmark:
        RESULTS / "benchmarks/summarise.tsv"
    conda:
        "../envs/steps.yaml"
    params:
        settings=grid_settings,
        code=source_digest("summarise"),
    script:
        "../workflow_scripts/summarise.py"


rule figures:
    input:
        summary=RESULTS / "summary.csv",
    output:
        figures=directory(RESULTS / "figures"),
        text=RESULTS / "summary.txt",
    log:
        RESULTS / "logs/figures.log",
    benchmark:
        RESULTS / "benchmarks/figures.tsv"
    conda:
        "../envs/steps.yaml"
    params:
        code=source_digest("figures"),
    script:
        "../workflow_scripts/figures.py"


rule compare_criteria:
    input:
        summary=RESULTS / "summary.csv",
    output:
        table=RESULTS / "criteria.csv",
        text=RESULTS / "criteria.md",
    log:
        RESULTS / "logs/compare_criteria.log",
    benchmark:
        RESULTS / "benchmarks/compare_criteria.tsv"
    conda:
        "../envs/steps.yaml"
    params:
        code=source_digest("compare_criteria"),
    script:
        "../workflow_scripts/compare_criteria.py"
