rule prepare_task:
    output:
        task_images=RESULTS / "tasks/{task}.safetensors",
    log:
        RESULTS / "logs/prepare_task/{task}.log",
    benchmark:
        RESULTS / "benchmarks/prepare_task/{task}.tsv"
    conda:
        "../envs/steps.yaml"
    params:
        loader=task_loader,
        data=config["data"],
        code=task_code,
    script:
        "../workflow_scripts/prepare_task.py"


rule fit_head:
    input:
        weights=weights_of,
        task_images=RESULTS / "tasks/{task}.safetensors",
    output:
        head=RESULTS / "heads/{backbone}/{task}.safetensors",
    log:
        RESULTS / "logs/fit_head/{backbone}/{task}.log",
    benchmark:
        RESULTS / "benchmarks/fit_head/{backbone}/{task}.tsv"
    conda:
        "../envs/steps.yaml"
    params:
        alpha=config["heads"]["alpha"],
        batch_size=config["evaluate"]["batch_size"],
        code=source_digest("fit_head"),
    script:
        "../workflow_scripts/fit_head.py"
