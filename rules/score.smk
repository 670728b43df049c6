rule choose_damping:
    input:
        weights=inputs.weights,
        task_images=inputs.source_images,
        head=inputs.source_head,
        statistics=inputs.damped_statistics,
    output:
        choice=made(paths.DAMPING),
    log:
        log_of("choose_damping", paths.DAMPING),
    benchmark:
        benchmark_of("choose_damping", paths.DAMPING)
    conda:
        "../envs/steps.yaml"
    params:
        labels=params.damped_labels,
        settings=params.damping_choice,
        batch_size=CONFIG.evaluate.batch_size,
        code=params.damping_code,
    script:
        "../workflow_scripts/choose_damping.py"


rule compute_scores:
    input:
        weights=inputs.weights,
        mask=[],
        curvature=inputs.curvature,
        damping=inputs.damping,
    output:
        scores=made(paths.SCORES),
    log:
        log_of("compute_scores", paths.SCORES),
    benchmark:
        benchmark_of("compute_scores", paths.SCORES)
    conda:
        "../envs/steps.yaml"
    params:
        criterion=params.criterion,
        options=params.criterion_options,
        seed=params.seed_of_scoring,
        code=params.criterion_code,
    script:
        "../workflow_scripts/compute_scores.py"
