# What the rules share: the checked configuration, wildcards, and the functions that name inputs and parameters.
import sys
from pathlib import Path

sys.path.insert(0, str(Path(workflow.basedir, "workflow_scripts")))

from obtransfer.config import backbones

from obtransfer.dag import grid
from obtransfer.config.check import check
from obtransfer.errors import ObtransferError
from obtransfer.dag import exports as exported
from obtransfer.pruning import schedule
from obtransfer.runtime.provenance import source_digest
from obtransfer.registry import ALLOCATIONS, CRITERIA, DATASETS, ESTIMATORS, TASKS

try:
    check(config)
except ObtransferError as error:
    raise WorkflowError(str(error)) from None

RESULTS = Path(config["results"])
ON_DISK = "obtransfer.data.on_disk:load"
NAME = "[a-z][a-z0-9_]*"


wildcard_constraints:
    backbone=f"{NAME}\\.[a-z0-9_]+",
    task=NAME,
    view="[0-9]+_crop[0-9]+_(bilinear|bicubic|nearest|lanczos)",
    dataset=NAME,
    source=NAME,
    suite=NAME,
    label=NAME,
    seed="[0-9]+",
    estimator=NAME,
    structure="diagonal|block([1-9][0-9]*|row)|kfac|ekfac|per_weight",
    scoring=f"{NAME}(/{NAME}/seed_[0-9]+|/seed_[0-9]+)?",
    round="[1-9][0-9]*",
    share="[1-9][0-9]*",
    shares="[1-9][0-9]*",
    allocation=NAME,
    sparsity="0\\.[0-9]+",
    state=f"dense|{NAME}(/{NAME}/seed_[0-9]+|/seed_[0-9]+)?/{NAME}/sparsity_0\\.[0-9]+",
    batchnorm=f"keep|recalibrate_{NAME}",
    tuning=f"on_{NAME}/seed_[0-9]+",


def weights_of(wildcards):
    """The pre-trained backbone."""
    return RESULTS / f"pretrained/{wildcards.backbone}.safetensors"


def mask_of(wildcards):
    """The state's mask; the dense model has none."""
    if wildcards.state == grid.DENSE:
        return []
    return RESULTS / f"masks/{wildcards.backbone}/{wildcards.state}.safetensors"


def recalibration_task(wildcards):
    """The task whose calibration images renew BatchNorm's statistics, if any do."""
    kind, _, source = wildcards.batchnorm.partition("_")
    return images_of(wildcards, source) if kind == "recalibrate" else []


def images_of(wildcards, task):
    """A task's images as the backbone sees them."""
    try:
        return RESULTS / grid.task_images(config, wildcards.backbone, task)
    except ObtransferError as error:
        raise WorkflowError(str(error)) from None


def task_images(wildcards):
    """Images of the task."""
    return images_of(wildcards, wildcards.task)


def source_images(wildcards):
    """Images of the source."""
    return images_of(wildcards, wildcards.source)


def suite_tasks(wildcards):
    """Images of every task of the suite."""
    return [images_of(wildcards, task) for task in suite(wildcards)]


def suite_heads(wildcards):
    """The dense backbone's head for every task of the suite."""
    folder = RESULTS / f"heads/{wildcards.backbone}"
    return [folder / f"{task}.safetensors" for task in suite(wildcards)]


def suite(wildcards):
    """Names of the suite's tasks."""
    return known(config["suites"], wildcards.suite, "suite")


def known(entries, name, what):
    """The entry called `name`; a name that does not exist is told with those that do."""
    if name not in entries:
        raise WorkflowError(
            f"no {what} is called {name!r}; there are: {', '.join(entries)}"
        )
    return entries[name]


def backbone_entry(wildcards):
    """Where the backbone's weights come from, and the pixels they were trained on."""
    try:
        return dict(vars(backbones.backbone(config, wildcards.backbone)))
    except ObtransferError as error:
        raise WorkflowError(str(error)) from None


def file_of_backbone(wildcards):
    """Size and time of a local file of weights, so that another one is read again; nothing for files from elsewhere."""
    entry = backbone_entry(wildcards)
    if not entry["source"].endswith(".local") or "://" in entry["address"]:
        return []
    path = Path(entry["address"].removeprefix("file:"))
    return [path.stat().st_size, path.stat().st_mtime_ns] if path.is_file() else []


def fetching(wildcards, output):
    """How weights are fetched; Snakemake does not compare what takes `output`, and no result depends on it."""
    return config.get("weights", {})


def backbone_code(wildcards):
    """Digest of the code that fetches and converts this backbone."""
    return source_digest("download_pretrained", backbone_entry(wildcards)["source"])


def task_loader(wildcards):
    """The function that makes the task's images."""
    task = known({**TASKS, **config.get("tasks", {})}, wildcards.task, "task")
    return ON_DISK if isinstance(task, dict) else task.load


def task_data(wildcards):
    """The seed, and how many images every class has."""
    counts = grid.images_per_class(config, wildcards.task)
    return {"seed": config["data"]["seed"], "images_per_class": counts}


def task_settings(wildcards):
    """What else a task from a data set depends on; nothing for the others."""
    task = config.get("tasks", {}).get(wildcards.task)
    if task is None:
        return {}
    entry = config["datasets"][task["dataset"]]
    return {
        "images": DATASETS[entry["kind"]].images,
        "dataset": entry,
        "classes": task.get("classes"),
        "max_corrupt": config["data"].get("max_corrupt", 0.01),
    }


def task_code(wildcards):
    """Digest of the code that makes this task."""
    images = task_settings(wildcards).get("images")
    modules = [task_loader(wildcards), *([images] if images else [])]
    return source_digest("prepare_task", *modules)


def downloaded(wildcards):
    """The table of what a data set holds, where it may have to be downloaded first."""
    name = config["tasks"][wildcards.task]["dataset"]
    download = config["datasets"][name].get("download", False)
    return RESULTS / f"datasets/{name}.csv" if download else []


def dataset_entry(wildcards):
    """The data set's kind and folder."""
    return known(config.get("datasets", {}), wildcards.dataset, "data set")


def dataset_reader(wildcards):
    """What reads data sets of this kind."""
    return DATASETS[dataset_entry(wildcards)["kind"]].images


def dataset_code(wildcards):
    """Digest of the code that reads this data set."""
    return source_digest("download_dataset", dataset_reader(wildcards))


def estimator_code(wildcards):
    """Digest of the code that this estimator runs."""
    return source_digest(
        "compute_curvature", known(ESTIMATORS, wildcards.estimator, "estimator").compute
    )


def estimator_settings(wildcards):
    """The settings of curvature that this estimator reads."""
    reads = known(ESTIMATORS, wildcards.estimator, "estimator").reads
    keys = ("num_examples", "batch_size", "memory_gb", *reads)
    return {key: config["curvature"][key] for key in keys if key in config["curvature"]}


def earlier_statistic(wildcards, folder):
    """The statistic, in the same folder, that this one builds on."""
    if wildcards.structure == "ekfac":
        return folder / f"{wildcards.estimator}.kfac.safetensors"
    after = known(ESTIMATORS, wildcards.estimator, "estimator").after
    return folder / f"{after}.safetensors" if after else []


def earlier_of_dense(wildcards):
    """What a statistic of the dense backbone builds on."""
    folder = f"curvature/{wildcards.backbone}/{wildcards.source}/seed_{wildcards.seed}"
    return earlier_statistic(wildcards, RESULTS / folder)


def shares_of_curvature(wildcards):
    """The shares of the calibration images that are merged."""
    folder = f"curvature/{wildcards.backbone}/{wildcards.source}/seed_{wildcards.seed}"
    name, shares = (
        f"{wildcards.estimator}.{wildcards.structure}",
        config["curvature"]["shares"],
    )
    return [
        RESULTS / f"{folder}/shares/{name}.{share}_of_{shares}.safetensors"
        for share in range(1, shares + 1)
    ]


def share_number(wildcards):
    """Which share of the calibration images a job reads, and of how many."""
    return [int(wildcards.share), int(wildcards.shares)]


def label_of(wildcards):
    """The criterion's label, with which `scoring` begins."""
    return wildcards.scoring.partition("/")[0]


def scoring_settings(wildcards):
    """The configured settings of the criterion that `scoring` begins with."""
    label = label_of(wildcards)
    chosen = grid.settings(config, label)
    known({**config.get("criteria", {}), **CRITERIA}, label, "criterion")
    return chosen


def scoring_seed(wildcards):
    """The seed that `scoring` ends with, where it has one."""
    return (
        int(wildcards.scoring.rpartition("seed_")[2])
        if "seed_" in wildcards.scoring
        else 0
    )


def scoring_source(wildcards):
    """The source that `scoring` names, where it reads data."""
    parts = wildcards.scoring.split("/")
    return parts[1] if len(parts) == 3 else ""


def scoring_images(wildcards):
    """Images of the scoring's source, where it reads any."""
    source = scoring_source(wildcards)
    return images_of(wildcards, source) if source else []


def scoring_head(wildcards):
    """The dense backbone's head for the scoring's source, where it reads data."""
    source = scoring_source(wildcards)
    return (
        RESULTS / f"heads/{wildcards.backbone}/{source}.safetensors" if source else []
    )


def score_function(wildcards):
    """The criterion's function."""
    return CRITERIA[scoring_settings(wildcards)["criterion"]].score


def score_code(wildcards):
    """Digest of the code that this criterion runs."""
    return source_digest("compute_scores", score_function(wildcards))


def score_options(wildcards):
    """The settings that the criterion's function reads."""
    return options_of(scoring_settings(wildcards))


def options_of(chosen):
    """Those of a label's settings that are arguments of the criterion's function."""
    reads = CRITERIA[chosen["criterion"]].reads
    return {
        key: chosen[key] for key in reads if key in chosen and chosen[key] != "chosen"
    }


def curvature_of(wildcards):
    """The statistic of the dense backbone that the criterion reads, if it reads one."""
    scoring_settings(wildcards)  # tells a label that nobody knows
    origin = wildcards.scoring.partition("/")[2]
    path = grid.statistic(config, wildcards.backbone, label_of(wildcards), origin)
    return RESULTS / path if path else []


def damping_of(wildcards):
    """The table with the damping chosen on the source's validation images, where that is asked for."""
    if scoring_settings(wildcards).get("damping") != "chosen":
        return []
    origin = wildcards.scoring.partition("/")[2]
    return RESULTS / f"damping/{wildcards.backbone}/{origin}.csv"


def damped_labels():
    """Labels whose damping is chosen, with the criterion's function and its other settings."""
    labels = {
        label: grid.settings(config, label) for label in grid.chosen_damping(config)
    }
    return {
        label: {
            "score": CRITERIA[chosen["criterion"]].score,
            "options": options_of(chosen),
        }
        for label, chosen in labels.items()
    }


def damped_statistics(wildcards):
    """What the criteria whose damping is chosen read, in the order of `damped_labels`."""
    origin = f"{wildcards.source}/seed_{wildcards.seed}"
    return [
        RESULTS / grid.statistic(config, wildcards.backbone, label, origin)
        for label in grid.chosen_damping(config)
    ]


def damping_code(wildcards):
    """Digest of the code that chooses a damping."""
    scores = [entry["score"] for entry in damped_labels().values()]
    return source_digest("choose_damping", *scores, ALLOCATIONS["global"])


def round_folder(wildcards, number):
    """Where a round's files are."""
    state = f"{wildcards.backbone}/{wildcards.scoring}/{wildcards.allocation}"
    return RESULTS / f"rounds/{state}/sparsity_{wildcards.sparsity}" / f"round_{number}"


def mask_of_round_before(wildcards):
    """The mask that a round begins with."""
    return round_folder(wildcards, int(wildcards.round) - 1) / "mask.safetensors"


def statistic_of_round(wildcards):
    """The statistic of the masked model that the criterion reads in this round, if it reads one."""
    path = curvature_of(wildcards)
    return round_folder(wildcards, wildcards.round) / path.name if path else []


def earlier_of_round(wildcards):
    """What a round's statistic builds on."""
    return earlier_statistic(wildcards, round_folder(wildcards, wildcards.round))


def scores_after(wildcards, number):
    """Scores of round `number`; those of the first are the one-shot ones."""
    if number > 1:
        return round_folder(wildcards, number) / "scores.safetensors"
    label, slash, origin = wildcards.scoring.partition("/")
    scoring = grid.scored_label(config, label) + slash + origin
    return RESULTS / f"scores/{wildcards.backbone}/{scoring}.safetensors"


def scores_of_round(wildcards):
    """The scores from which a round's mask is made."""
    return scores_after(wildcards, int(wildcards.round))


def scores_of_mask(wildcards):
    """The scores of the last round."""
    rounds = grid.rounds(scoring_settings(wildcards))
    if rounds > grid.MAX_ROUNDS_AS_JOBS:
        return round_folder(wildcards, rounds).parent / "last_scores.safetensors"
    return scores_after(wildcards, rounds)


def sparsities_of_rounds(wildcards):
    """The sparsity after every round."""
    chosen = scoring_settings(wildcards)
    kind = chosen.get("schedule", "exponential")
    return schedule.sparsities(wildcards.sparsity, grid.rounds(chosen), kind)


def sparsity_of_round(wildcards):
    """The sparsity after this round."""
    return sparsities_of_rounds(wildcards)[int(wildcards.round) - 1]


def statistic_in_rounds(wildcards):
    """Estimator, structure and settings of the statistics that pruning in rounds computes by itself."""
    chosen = scoring_settings(wildcards)
    if CRITERIA[chosen["criterion"]].needs == "none":
        return {}
    name = grid.estimator(chosen)
    keys = ("num_examples", "batch_size", *ESTIMATORS[name].reads)
    return {
        "estimator": name,
        "structure": grid.structure(chosen),
        "after": ESTIMATORS[name].after,
        "settings": {key: config["curvature"][key] for key in keys},
    }


def rounds_code(wildcards):
    """Digest of the code that pruning in rounds runs."""
    chosen = scoring_settings(wildcards)
    modules = [score_function(wildcards), allocation_function(wildcards)]
    if CRITERIA[chosen["criterion"]].needs != "none":
        modules.append(ESTIMATORS[grid.estimator(chosen)].compute)
    return source_digest("score_in_rounds", *modules)


def updated(wildcards):
    """Whether the surviving weights make up for the removed ones."""
    return "update" in scoring_settings(wildcards)


def weights_to_update(wildcards):
    """The dense weights, where the mask comes with an update of those that stay."""
    return weights_of(wildcards) if updated(wildcards) else []


def curvature_to_update(wildcards):
    """The blocks, where the mask comes with an update of the weights that stay."""
    return curvature_of(wildcards) if updated(wildcards) else []


def allocation_function(wildcards):
    """The function that spreads the sparsity over the layers."""
    return known(ALLOCATIONS, wildcards.allocation, "allocation")


def allocation_code(wildcards):
    """Digest of the code that this allocation runs."""
    return source_digest("compute_mask", allocation_function(wildcards))


def evaluations_of_grid(wildcards):
    """Every evaluation the summary reads, once."""
    paths = {
        grid.evaluation(config, point, name)
        for point in grid.points(config)
        for name in config["suites"]
    }
    return [RESULTS / path for path in sorted(paths)]


def grid_settings(wildcards):
    """The part of the configuration that decides which rows the summary has."""
    return {
        key: config[key]
        for key in ("results", "grid", "criteria", "suites", "backbones")
        if key in config
    }


def export_task(wildcards):
    """The task an export is checked on: its head's, else the source of the model's last step, else the grid's first."""
    head = (
        wildcards.form.partition("zero_shot_")[2]
        or wildcards.form.partition("probe_")[2]
    )
    tuning = Path(wildcards.get("tuning", "")).parts[:1]
    tuned_on = "".join(tuning).removeprefix("on_")
    recalibrated = wildcards.batchnorm.partition("_")[2]
    parts = wildcards.state.split("/")
    scored = parts[1] if len(parts) == 5 else ""
    return head or tuned_on or recalibrated or scored or config["grid"]["sources"][0]


def export_images(wildcards):
    """Images of the task an export is checked on."""
    return images_of(wildcards, export_task(wildcards))


def export_head(wildcards):
    """The dense backbone's head for the task an export is checked on."""
    return RESULTS / f"heads/{wildcards.backbone}/{export_task(wildcards)}.safetensors"


def export_evaluations(wildcards):
    """Accuracies of the exported model on every suite."""
    tuning = wildcards.get("tuning", "")
    state = f"{wildcards.backbone}/{wildcards.state}/{wildcards.batchnorm}"
    folder = RESULTS / "evaluations" / state / tuning
    return [folder / f"{name}.csv" for name in config["suites"]]


def dense_evaluations(wildcards):
    """Accuracies of the dense backbone on every suite."""
    folder = RESULTS / f"evaluations/{wildcards.backbone}/{grid.DENSE}/keep"
    return [folder / f"{name}.csv" for name in config["suites"]]


def export_history(wildcards):
    """How the exported model came about, as its card tells it."""
    label = wildcards.state.partition("/")[0]
    dense = label == grid.DENSE
    criterion = {} if dense else grid.settings(config, label)
    tuning = wildcards.get("tuning", "")
    return {
        "state": wildcards.state,
        "batchnorm": wildcards.batchnorm,
        "tuning": tuning,
        "finetuned": bool(tuning),
        "criterion": criterion,
        "updated": "update" in criterion,
        "settings": config["finetune"] if tuning else {},
    }


def exports_of_grid(wildcards):
    """The card of every model that `export` names."""
    return [RESULTS / folder / "card.md" for folder in exported.targets(config)]
