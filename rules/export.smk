# Models to take home. Which ones is said under `export` in the configuration, or by naming a path.
FORM = "features|(zero_shot|probe)_[a-z][a-z0-9_]*"


rule export:
    input:
        weights=weights_of,
        mask=mask_of,
        recalibration=recalibration_task,
        task_images=export_images,
        head=export_head,
        evaluations=export_evaluations,
        dense_evaluations=dense_evaluations,
    output:
        model=RESULTS
        / "exports/{backbone}/{state}/{batchnorm}/{form}/model.safetensors",
        bits=RESULTS / "exports/{backbone}/{state}/{batchnorm}/{form}/mask.safetensors",
        onnx=RESULTS / "exports/{backbone}/{state}/{batchnorm}/{form}/model.onnx",
        card=RESULTS / "exports/{backbone}/{state}/{batchnorm}/{form}/card.json",
        text=RESULTS / "exports/{backbone}/{state}/{batchnorm}/{form}/card.md",
    log:
        RESULTS / "logs/export/{backbone}/{state}/{batchnorm}/{form}.log",
    benchmark:
        RESULTS / "benchmarks/export/{backbone}/{state}/{batchnorm}/{form}.tsv"
    wildcard_constraints:
        form=FORM,
    conda:
        "../envs/steps.yaml"
    params:
        how=export_history,
        alpha=config["heads"]["alpha"],
        batch_size=config["evaluate"]["batch_size"],
        code=source_digest("export_model"),
    script:
        "../workflow_scripts/export_model.py"


use rule export as export_finetuned with:
    input:
        weights=RESULTS
        / "finetuned/{backbone}/{state}/{batchnorm}/{tuning}.safetensors",
        mask=mask_of,
        recalibration=[],
        task_images=export_images,
        head=export_head,
        evaluations=export_evaluations,
        dense_evaluations=dense_evaluations,
    output:
        model=RESULTS
        / "exports/{backbone}/{state}/{batchnorm}/{tuning}/{form}/model.safetensors",
        bits=RESULTS
        / "exports/{backbone}/{state}/{batchnorm}/{tuning}/{form}/mask.safetensors",
        onnx=RESULTS
        / "exports/{backbone}/{state}/{batchnorm}/{tuning}/{form}/model.onnx",
        card=RESULTS
        / "exports/{backbone}/{state}/{batchnorm}/{tuning}/{form}/card.json",
        text=RESULTS / "exports/{backbone}/{state}/{batchnorm}/{tuning}/{form}/card.md",
    log:
        RESULTS
        / "logs/export_finetuned/{backbone}/{state}/{batchnorm}/{tuning}/{form}.log",
    benchmark:
        RESULTS
        / "benchmarks/export_finetuned/{backbone}/{state}/{batchnorm}/{tuning}/{form}.tsv"
    wildcard_constraints:
        form=FORM,
    conda:
        "../envs/steps.yaml"
