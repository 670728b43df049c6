rule compute_mask:
    input:
        scores=RESULTS / "scores/{backbone}/{scoring}.safetensors",
    output:
        mask=RESULTS
        / "masks/{backbone}/{scoring}/{allocation}/sparsity_{sparsity}.safetensors",
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
        code=allocation_code,
    script:
        "../workflow_scripts/compute_mask.py"
