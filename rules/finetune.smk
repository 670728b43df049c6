rule finetune:
    input:
        weights=weights_of,
        mask=mask_of,
        task_images=source_images,
        head=RESULTS / "heads/{backbone}/{source}.safetensors",
        recalibration=recalibration_task,
    output:
        finetuned=RESULTS
        / "finetuned/{backbone}/{state}/{batchnorm}/on_{source}/seed_{seed}.safetensors",
    log:
        RESULTS
        / "logs/finetune/{backbone}/{state}/{batchnorm}/on_{source}/seed_{seed}.log",
    benchmark:
        RESULTS
        / "benchmarks/finetune/{backbone}/{state}/{batchnorm}/on_{source}/seed_{seed}.tsv"
    conda:
        "../envs/steps.yaml"
    params:
        settings=config["finetune"],
        code=source_digest("finetune"),
    script:
        "../workflow_scripts/finetune.py"
