rule evaluate_pruned:
    input:
        weights=inputs.weights,
        mask=inputs.mask,
        recalibration=inputs.recalibration,
        tasks=inputs.suite_images,
        heads=inputs.suite_heads,
    output:
        accuracies=made(paths.EVALUATION),
    log:
        log_of("evaluate_pruned", paths.EVALUATION),
    benchmark:
        benchmark_of("evaluate_pruned", paths.EVALUATION)
    conda:
        "../envs/steps.yaml"
    params:
        alpha=CONFIG.heads.alpha,
        batch_size=CONFIG.evaluate.batch_size,
        precision=CONFIG.precision,
        code=code_digest("evaluate"),
    script:
        "../workflow_scripts/evaluate.py"


use rule evaluate_pruned as evaluate_finetuned with:
    input:
        weights=inputs.finetuned,
        mask=[],
        recalibration=[],
        tasks=inputs.suite_images,
        heads=inputs.suite_heads,
    output:
        accuracies=made(paths.FINETUNED_EVALUATION),
    log:
        log_of("evaluate_finetuned", paths.FINETUNED_EVALUATION),
    benchmark:
        benchmark_of("evaluate_finetuned", paths.FINETUNED_EVALUATION)
