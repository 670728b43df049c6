rule download_dataset:
    output:
        images=made(paths.DATASET),
    log:
        log_of("download_dataset", paths.DATASET),
    benchmark:
        benchmark_of("download_dataset", paths.DATASET)
    conda:
        "../envs/steps.yaml"
    params:
        entry=params.dataset,
        code=params.dataset_code,
    script:
        "../workflow_scripts/download_dataset.py"


rule prepare_task:
    output:
        task_images=made(paths.TASK_IMAGES),
    log:
        log_of("prepare_task", paths.TASK_IMAGES),
    benchmark:
        benchmark_of("prepare_task", paths.TASK_IMAGES)
    conda:
        "../envs/steps.yaml"
    params:
        data=params.task_data,
        settings=params.task_settings,
        code=params.task_code,
    script:
        "../workflow_scripts/prepare_task.py"


# Tasks from data sets. Several threads decode photographs, so this is not a local rule.
use rule prepare_task as prepare_images with:
    input:
        downloaded=inputs.downloaded,
    output:
        task_images=made(paths.TASK_IMAGES),
    log:
        log_of("prepare_images", paths.TASK_IMAGES),
    benchmark:
        benchmark_of("prepare_images", paths.TASK_IMAGES)
    wildcard_constraints:
        task="|".join(CONFIG.tasks) or "(?!)",
    threads: 8


ruleorder: prepare_images > prepare_task


rule fit_head:
    input:
        weights=inputs.weights,
        task_images=inputs.task_images,
    output:
        head=made(paths.HEAD),
    log:
        log_of("fit_head", paths.HEAD),
    benchmark:
        benchmark_of("fit_head", paths.HEAD)
    conda:
        "../envs/steps.yaml"
    params:
        alpha=CONFIG.heads.alpha,
        fit_split=CONFIG.heads.fit_split,
        batch_size=CONFIG.evaluate.batch_size,
        code=code_digest("fit_head"),
    script:
        "../workflow_scripts/fit_head.py"
