rule compute_curvature:
    input:
        weights=weights_of,
        task_images=RESULTS / "tasks/{source}.safetensors",
        head=RESULTS / "heads/{backbone}/{source}.safetensors",
    output:
        curvature=RESULTS
        / "curvature/{backbone}/{source}/seed_{seed}/{estimator}.{structure}.safetensors",
    log:
        RESULTS
        / "logs/compute_curvature/{backbone}/{source}/seed_{seed}/{estimator}.{structure}.log",
    benchmark:
        RESULTS
        / "benchmarks/compute_curvature/{backbone}/{source}/seed_{seed}/{estimator}.{structure}.tsv"
    conda:
        "../envs/steps.yaml"
    params:
        settings=config["curvature"],
        code=estimator_code,
    script:
        "../workflow_scripts/compute_curvature.py"
