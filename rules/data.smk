rule download_dataset:
    output:
        images=RESULTS / "datasets/{dataset}.csv",
    log:
        RESULTS / "logs/download_dataset/{dataset}.log",
    benchmark:
        RESULTS / "benchmarks/download_dataset/{dataset}.tsv"
    conda:
        "../envs/steps.yaml"
    params:
        entry=dataset_entry,
        reader=dataset_reader,
        code=dataset_code,
    script:
        "../workflow_scripts/download_dataset.py"


rule prepare_task:
    output:
        task_images=RESULTS / "tasks/{task}/{view}.safetensors",
    log:
        RESULTS / "logs/prepare_task/{task}/{view}.log",
    benchmark:
        RESULTS / "benchmarks/prepare_task/{task}/{view}.tsv"
    conda:
        "../envs/steps.yaml"
    params:
        loader=task_loader,
        data=task_data,
        settings=task_settings,
        code=task_code,
    script:
        "../workflow_scripts/prepare_task.py"


# Tasks from data sets: photographs are decoded by several threads, and not on a login node.
use rule prepare_task as prepare_images with:
    input:
        downloaded=downloaded,
    output:
        task_images=RESULTS / "tasks/{task}/{view}.safetensors",
    log:
        RESULTS / "logs/prepare_images/{task}/{view}.log",
    benchmark:
        RESULTS / "benchmarks/prepare_images/{task}/{view}.tsv"
    wildcard_constraints:
        task="|".join(config.get("tasks", {})) or "(?!)",
    threads: 8


ruleorder: prepare_images > prepare_task


rule fit_head:
    input:
        weights=weights_of,
        task_images=task_images,
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
        fit_split=config["heads"].get("fit_split", "train"),
        batch_size=config["evaluate"]["batch_size"],
        code=source_digest("fit_head"),
    script:
        "../workflow_scripts/fit_head.py"
