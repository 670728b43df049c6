# Optimal Brain Transfer: how far pre-trained backbones can be pruned before transfer suffers.
from snakemake.utils import min_version

min_version("9.0")


configfile: workflow.source_path("config.yaml")


include: "rules/common.smk"
include: "rules/pretrained.smk"
include: "rules/data.smk"
include: "rules/curvature.smk"
include: "rules/score.smk"
include: "rules/mask.smk"
include: "rules/rounds.smk"
include: "rules/finetune.smk"
include: "rules/evaluate.smk"
include: "rules/export.smk"
include: "rules/report.smk"


# With a cluster, these run where `snakemake` does: they need the internet, or are short.
localrules:
    all,
    download_pretrained,
    download_dataset,
    prepare_task,
    summarise,
    compare_criteria,
    figures,


rule all:
    default_target: True
    input:
        made(paths.SUMMARY),
        made(paths.FIGURES),
        made(paths.SUMMARY_TEXT),
        made(paths.CRITERIA_TEXT),
        inputs.exports_of_grid,
