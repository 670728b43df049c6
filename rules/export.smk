# Models to export: those under `export` in the configuration, or any whose path is requested.
rule export:
    input:
        weights=inputs.weights,
        mask=inputs.mask,
        recalibration=inputs.recalibration,
        task_images=inputs.export_images,
        head=inputs.export_head,
        evaluations=inputs.export_evaluations,
        dense_evaluations=inputs.dense_evaluations,
    output:
        model=made(f"{paths.EXPORT}/model.safetensors"),
        bits=made(f"{paths.EXPORT}/mask.safetensors"),
        onnx=made(f"{paths.EXPORT}/model.onnx"),
        card=made(f"{paths.EXPORT}/card.json"),
        text=made(f"{paths.EXPORT}/card.md"),
    log:
        log_of("export", paths.EXPORT),
    benchmark:
        benchmark_of("export", paths.EXPORT)
    conda:
        "../envs/steps.yaml"
    params:
        how=params.export_history,
        alpha=CONFIG.heads.alpha,
        batch_size=CONFIG.evaluate.batch_size,
        code=code_digest("export_model"),
    script:
        "../workflow_scripts/export_model.py"


use rule export as export_finetuned with:
    input:
        weights=inputs.finetuned,
        mask=inputs.mask,
        recalibration=[],
        task_images=inputs.export_images,
        head=inputs.export_head,
        evaluations=inputs.export_evaluations,
        dense_evaluations=inputs.dense_evaluations,
    output:
        model=made(f"{paths.FINETUNED_EXPORT}/model.safetensors"),
        bits=made(f"{paths.FINETUNED_EXPORT}/mask.safetensors"),
        onnx=made(f"{paths.FINETUNED_EXPORT}/model.onnx"),
        card=made(f"{paths.FINETUNED_EXPORT}/card.json"),
        text=made(f"{paths.FINETUNED_EXPORT}/card.md"),
    log:
        log_of("export_finetuned", paths.FINETUNED_EXPORT),
    benchmark:
        benchmark_of("export_finetuned", paths.FINETUNED_EXPORT)
