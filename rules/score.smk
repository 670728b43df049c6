rule choose_damping:
    input:
        weights=weights_of,
        task_images=source_images,
        head=RESULTS / "heads/{backbone}/{source}.safetensors",
        statistics=damped_statistics,
    output:
        choice=RESULTS / "damping/{backbone}/{source}/seed_{seed}.csv",
    log:
        RESULTS / "logs/choose_damping/{backbone}/{source}/seed_{seed}.log",
    benchmark:
        RESULTS / "benchmarks/choose_damping/{backbone}/{source}/seed_{seed}.tsv"
    conda:
        "../envs/steps.yaml"
    params:
        labels=damped_labels(),
        settings=config.get("damping_choice", {}),
        allocate=ALLOCATIONS["global"],
        batch_size=config["evaluate"]["batch_size"],
        code=damping_code,
    script:
        "../workflow_scripts/choose_damping.py"


rule compute_scores:
    input:
        weights=weights_of,
        mask=[],
        curvature=curvature_of,
        damping=damping_of,
    output:
        scores=RESULTS / "scores/{backbone}/{scoring}.safetensors",
    log:
        RESULTS / "logs/compute_scores/{backbone}/{scoring}.log",
    benchmark:
        RESULTS / "benchmarks/compute_scores/{backbone}/{scoring}.tsv"
    conda:
        "../envs/steps.yaml"
    params:
        score=score_function,
        options=score_options,
        chance=scoring_seed,
        code=score_code,
    script:
        "../workflow_scripts/compute_scores.py"
