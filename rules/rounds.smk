# Pruning in rounds: up to ten are jobs of their own, more are one job with a checkpoint after each.
ROUND = "{backbone}/{scoring}/{allocation}/sparsity_{sparsity}/round_{round}"
ROUNDS = "{backbone}/{scoring}/{allocation}/sparsity_{sparsity}"


use rule compute_curvature as compute_round_statistic with:
    input:
        weights=weights_of,
        mask=mask_of_round_before,
        task_images=scoring_images,
        head=scoring_head,
        first=earlier_of_round,
    output:
        curvature=RESULTS / f"rounds/{ROUND}/{{estimator}}.{{structure}}.safetensors",
    log:
        RESULTS
        / f"logs/compute_round_statistic/{ROUND}/{{estimator}}.{{structure}}.log",
    benchmark:
        RESULTS
        / f"benchmarks/compute_round_statistic/{ROUND}/{{estimator}}.{{structure}}.tsv"
    conda:
        "../envs/steps.yaml"
    params:
        settings=estimator_settings,
        part=[1, 1],
        seed=scoring_seed,
        code=estimator_code,


use rule compute_scores as compute_round_scores with:
    input:
        weights=weights_of,
        mask=mask_of_round_before,
        curvature=statistic_of_round,
        damping=damping_of,
    output:
        scores=RESULTS / f"rounds/{ROUND}/scores.safetensors",
    log:
        RESULTS / f"logs/compute_round_scores/{ROUND}.log",
    benchmark:
        RESULTS / f"benchmarks/compute_round_scores/{ROUND}.tsv"
    conda:
        "../envs/steps.yaml"


use rule compute_mask as compute_round_mask with:
    input:
        scores=scores_of_round,
        weights=[],
        curvature=[],
    output:
        mask=RESULTS / f"rounds/{ROUND}/mask.safetensors",
        layers=RESULTS / f"rounds/{ROUND}/mask.layers.csv",
    log:
        RESULTS / f"logs/compute_round_mask/{ROUND}.log",
    benchmark:
        RESULTS / f"benchmarks/compute_round_mask/{ROUND}.tsv"
    conda:
        "../envs/steps.yaml"
    params:
        allocate=allocation_function,
        target=sparsity_of_round,
        code=allocation_code,


rule score_in_rounds:
    input:
        weights=weights_of,
        task_images=scoring_images,
        head=scoring_head,
        damping=damping_of,
    output:
        scores=RESULTS / f"rounds/{ROUNDS}/last_scores.safetensors",
    log:
        RESULTS / f"logs/score_in_rounds/{ROUNDS}.log",
    benchmark:
        RESULTS / f"benchmarks/score_in_rounds/{ROUNDS}.tsv"
    conda:
        "../envs/steps.yaml"
    params:
        score=score_function,
        options=score_options,
        statistic=statistic_in_rounds,
        allocate=allocation_function,
        sparsities=sparsities_of_rounds,
        chance=scoring_seed,
        code=rounds_code,
    script:
        "../workflow_scripts/score_in_rounds.py"
