rule finetune:
    input:
        weights=inputs.weights,
        mask=inputs.mask,
        task_images=inputs.source_images,
        head=inputs.source_head,
        recalibration=inputs.recalibration,
    output:
        finetuned=made(paths.FINETUNED),
    log:
        log_of("finetune", paths.FINETUNED),
    benchmark:
        benchmark_of("finetune", paths.FINETUNED)
    conda:
        "../envs/steps.yaml"
    params:
        settings=asdict(CONFIG.finetune),
        precision=CONFIG.precision,
        code=code_digest("finetune"),
    script:
        "../workflow_scripts/finetune.py"
