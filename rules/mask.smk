rule compute_mask:
    input:
        scores=scores_of_mask,
        weights=weights_to_update,
        curvature=curvature_to_update,
    output:
        mask=RESULTS
        / "masks/{backbone}/{scoring}/{allocation}/sparsity_{sparsity}.safetensors",
        layers=RESULTS
        / "masks/{backbone}/{scoring}/{allocation}/sparsity_{sparsity}.layers.csv",
    log:
        RESULTS
        / "logs/compute_mask/{backbone}/{scoring}/{allocation}/sparsity_{sparsity}.log",
    benchmark:
        RESULTS
        / "benchmarks/compute_mask/{backbone}/{scoring}/{allocation}/sparsity_{sparsity}.tsv"
    conda:
        "../envs/steps.yaml"
    params:
        allocate=allocation_function,
        target="",
        code=allocation_code,
    script:
        "../workflow_scripts/compute_mask.py"
