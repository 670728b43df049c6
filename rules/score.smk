rule compute_scores:
    input:
        weights=weights_of,
        curvature=curvature_of,
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
        damping=score_damping,
        chance=scoring_seed,
        code=score_code,
    script:
        "../workflow_scripts/compute_scores.py"
