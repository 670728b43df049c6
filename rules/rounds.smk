# Pruning in rounds: up to ten are jobs of their own, more are one job with a checkpoint after each.
use rule compute_curvature as compute_round_statistic with:
    input:
        weights=inputs.weights,
        mask=inputs.mask_of_round_before,
        task_images=inputs.scoring_images,
        head=inputs.scoring_head,
        prior=inputs.prior_of_round,
    output:
        curvature=made(paths.ROUND_STATISTIC),
    log:
        log_of("compute_round_statistic", paths.ROUND_STATISTIC),
    benchmark:
        benchmark_of("compute_round_statistic", paths.ROUND_STATISTIC)
    params:
        settings=params.statistic_settings,
        share=[1, 1],
        seed=params.seed_of_scoring,
        code=params.estimator_code,


use rule compute_scores as compute_round_scores with:
    input:
        weights=inputs.weights,
        mask=inputs.mask_of_round_before,
        curvature=inputs.statistic_of_round,
        damping=inputs.damping,
    output:
        scores=made(paths.ROUND_SCORES),
    log:
        log_of("compute_round_scores", paths.ROUND),
    benchmark:
        benchmark_of("compute_round_scores", paths.ROUND)


use rule compute_mask as compute_round_mask with:
    input:
        scores=inputs.scores_of_round,
        weights=[],
        curvature=[],
    output:
        mask=made(paths.ROUND_MASK),
        layers=made(paths.ROUND_LAYERS),
    log:
        log_of("compute_round_mask", paths.ROUND),
    benchmark:
        benchmark_of("compute_round_mask", paths.ROUND)
    params:
        target=params.sparsity_of_round,
        code=params.allocation_code,


rule score_in_rounds:
    input:
        weights=inputs.weights,
        task_images=inputs.scoring_images,
        head=inputs.scoring_head,
        damping=inputs.damping,
    output:
        scores=made(paths.LAST_SCORES),
    log:
        log_of("score_in_rounds", paths.ROUNDS),
    benchmark:
        benchmark_of("score_in_rounds", paths.ROUNDS)
    conda:
        "../envs/steps.yaml"
    params:
        criterion=params.criterion,
        options=params.criterion_options,
        statistic=params.statistic_in_rounds,
        sparsities=params.sparsities_of_rounds,
        seed=params.seed_of_scoring,
        code=params.rounds_code,
    script:
        "../workflow_scripts/score_in_rounds.py"
