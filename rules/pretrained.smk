rule download_pretrained:
    output:
        weights=made(paths.PRETRAINED),
    log:
        log_of("download_pretrained", paths.PRETRAINED),
    benchmark:
        benchmark_of("download_pretrained", paths.PRETRAINED)
    conda:
        "../envs/steps.yaml"
    params:
        entry=params.backbone,
        file=params.file_of_backbone,
        fetching=params.fetching,
        code=params.backbone_code,
    script:
        "../workflow_scripts/download_pretrained.py"
