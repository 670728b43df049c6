rule compute_curvature:
    input:
        weights=inputs.weights,
        mask=[],
        task_images=inputs.source_images,
        head=inputs.source_head,
        prior=inputs.prior,
    output:
        curvature=made(paths.CURVATURE),
    log:
        log_of("compute_curvature", paths.CURVATURE),
    benchmark:
        benchmark_of("compute_curvature", paths.CURVATURE)
    conda:
        "../envs/steps.yaml"
    params:
        settings=params.statistic_settings,
        share=[1, 1],
        code=params.estimator_code,
    script:
        "../workflow_scripts/compute_curvature.py"


use rule compute_curvature as compute_data_free_statistic with:
    input:
        weights=inputs.weights,
        mask=[],
        task_images=[],
        head=[],
        prior=[],
    output:
        curvature=made(paths.DATA_FREE_STATISTIC),
    log:
        log_of("compute_data_free_statistic", paths.DATA_FREE_STATISTIC),
    benchmark:
        benchmark_of("compute_data_free_statistic", paths.DATA_FREE_STATISTIC)
    params:
        settings={},
        share=[1, 1],
        seed="0",
        code=params.estimator_code,


use rule compute_curvature as compute_share with:
    output:
        curvature=made(paths.SHARE),
    log:
        log_of("compute_share", paths.SHARE),
    benchmark:
        benchmark_of("compute_share", paths.SHARE)
    params:
        settings=params.statistic_settings,
        share=params.share,
        code=params.estimator_code,


rule merge_shares:
    input:
        shares=inputs.shares,
    output:
        curvature=made(paths.CURVATURE),
    log:
        log_of("merge_shares", paths.CURVATURE),
    benchmark:
        benchmark_of("merge_shares", paths.CURVATURE)
    conda:
        "../envs/steps.yaml"
    params:
        code=params.merging_code,
    script:
        "../workflow_scripts/merge_shares.py"


if CONFIG.curvature.shares > 1:

    ruleorder: merge_shares > compute_curvature

else:

    ruleorder: compute_curvature > merge_shares
