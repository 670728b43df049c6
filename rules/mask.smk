rule compute_mask:
    input:
        scores=inputs.scores_of_mask,
        weights=inputs.weights_to_update,
        curvature=inputs.curvature_to_update,
    output:
        mask=made(paths.MASK),
        layers=made(paths.LAYERS),
    log:
        log_of("compute_mask", paths.MASK),
    benchmark:
        benchmark_of("compute_mask", paths.MASK)
    conda:
        "../envs/steps.yaml"
    params:
        target="",
        code=params.allocation_code,
    script:
        "../workflow_scripts/compute_mask.py"
