rule download_pretrained:
    output:
        weights=RESULTS / "pretrained/{backbone}.safetensors",
    log:
        RESULTS / "logs/download_pretrained/{backbone}.log",
    benchmark:
        RESULTS / "benchmarks/download_pretrained/{backbone}.tsv"
    conda:
        "../envs/steps.yaml"
    params:
        entry=backbone_entry,
        file=file_of_backbone,
        fetching=fetching,
        code=backbone_code,
    script:
        "../workflow_scripts/download_pretrained.py"
