rule evaluate_pruned:
    input:
        weights=weights_of,
        mask=mask_of,
        recalibration=recalibration_task,
        tasks=suite_tasks,
        heads=suite_heads,
    output:
        accuracies=RESULTS / "evaluations/{backbone}/{state}/{batchnorm}/{suite}.csv",
    log:
        RESULTS / "logs/evaluate_pruned/{backbone}/{state}/{batchnorm}/{suite}.log",
    benchmark:
        RESULTS
        / "benchmarks/evaluate_pruned/{backbone}/{state}/{batchnorm}/{suite}.tsv"
    conda:
        "../envs/steps.yaml"
    params:
        alpha=config["heads"]["alpha"],
        batch_size=config["evaluate"]["batch_size"],
        mixed_precision=config["evaluate"].get("mixed_precision", False),
        code=source_digest("evaluate"),
    script:
        "../workflow_scripts/evaluate.py"


use rule evaluate_pruned as evaluate_finetuned with:
    input:
        weights=RESULTS
        / "finetuned/{backbone}/{state}/{batchnorm}/{tuning}.safetensors",
        mask=[],
        recalibration=[],
        tasks=suite_tasks,
        heads=suite_heads,
    output:
        accuracies=RESULTS
        / "evaluations/{backbone}/{state}/{batchnorm}/{tuning}/{suite}.csv",
    log:
        RESULTS
        / "logs/evaluate_finetuned/{backbone}/{state}/{batchnorm}/{tuning}/{suite}.log",
    benchmark:
        RESULTS
        / "benchmarks/evaluate_finetuned/{backbone}/{state}/{batchnorm}/{tuning}/{suite}.tsv"
    conda:
        "../envs/steps.yaml"
