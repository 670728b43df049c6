rule summarise:
    input:
        evaluations=inputs.evaluations_of_grid,
    output:
        summary=made(paths.SUMMARY),
    log:
        log_of("summarise", paths.SUMMARY),
    benchmark:
        benchmark_of("summarise", paths.SUMMARY)
    conda:
        "../envs/steps.yaml"
    params:
        points=params.points,
        code=code_digest("summarise"),
    script:
        "../workflow_scripts/summarise.py"


rule figures:
    input:
        summary=made(paths.SUMMARY),
    output:
        figures=directory(made(paths.FIGURES)),
        text=made(paths.SUMMARY_TEXT),
    log:
        log_of("figures", paths.FIGURES),
    benchmark:
        benchmark_of("figures", paths.FIGURES)
    conda:
        "../envs/steps.yaml"
    params:
        code=code_digest("figures", *map(FIGURES.module, FIGURES)),
    script:
        "../workflow_scripts/figures.py"


rule compare_criteria:
    input:
        summary=made(paths.SUMMARY),
    output:
        table=made(paths.CRITERIA),
        text=made(paths.CRITERIA_TEXT),
    log:
        log_of("compare_criteria", paths.CRITERIA),
    benchmark:
        benchmark_of("compare_criteria", paths.CRITERIA)
    conda:
        "../envs/steps.yaml"
    params:
        code=code_digest("compare_criteria"),
    script:
        "../workflow_scripts/compare_criteria.py"
