rule compute_curvature:
    input:
        weights=weights_of,
        mask=[],
        task_images=source_images,
        head=RESULTS / "heads/{backbone}/{source}.safetensors",
        first=earlier_of_dense,
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
        settings=estimator_settings,
        part=[1, 1],
        code=estimator_code,
    script:
        "../workflow_scripts/compute_curvature.py"


use rule compute_curvature as compute_data_free_statistic with:
    input:
        weights=weights_of,
        mask=[],
        task_images=[],
        head=[],
        first=[],
    output:
        curvature=RESULTS / "curvature/{backbone}/{estimator}.{structure}.safetensors",
    log:
        RESULTS
        / "logs/compute_data_free_statistic/{backbone}/{estimator}.{structure}.log",
    benchmark:
        RESULTS
        / "benchmarks/compute_data_free_statistic/{backbone}/{estimator}.{structure}.tsv"
    conda:
        "../envs/steps.yaml"
    params:
        settings={},
        part=[1, 1],
        seed="0",
        code=estimator_code,


use rule compute_curvature as compute_share with:
    output:
        curvature=RESULTS
        / "curvature/{backbone}/{source}/seed_{seed}/shares/{estimator}.{structure}.{share}_of_{shares}.safetensors",
    log:
        RESULTS
        / "logs/compute_share/{backbone}/{source}/seed_{seed}/{estimator}.{structure}.{share}_of_{shares}.log",
    benchmark:
        RESULTS
        / "benchmarks/compute_share/{backbone}/{source}/seed_{seed}/{estimator}.{structure}.{share}_of_{shares}.tsv"
    conda:
        "../envs/steps.yaml"
    params:
        settings=estimator_settings,
        part=share_number,
        code=estimator_code,


if config["curvature"]["shares"] > 1:

    ruleorder: merge_shares > compute_curvature

else:

    ruleorder: compute_curvature > merge_shares


rule merge_shares:
    input:
        shares=shares_of_curvature,
    output:
        curvature=RESULTS
        / "curvature/{backbone}/{source}/seed_{seed}/{estimator}.{structure}.safetensors",
    log:
        RESULTS
        / "logs/merge_shares/{backbone}/{source}/seed_{seed}/{estimator}.{structure}.log",
    benchmark:
        RESULTS
        / "benchmarks/merge_shares/{backbone}/{source}/seed_{seed}/{estimator}.{structure}.tsv"
    conda:
        "../envs/steps.yaml"
    params:
        code=source_digest("merge_shares"),
    script:
        "../workflow_scripts/merge_shares.py"
