"""What a change makes Snakemake do again: exact lists of jobs."""

import os
import time
from collections.abc import Iterator
from itertools import product

import pytest
from project import BACKBONES, Project

pytestmark = pytest.mark.slow

RESNET, VIT = BACKBONES
DATA_DRIVEN = ("obd/upper/seed_0", "obs/upper/seed_0")
SCORINGS = ("magnitude", *DATA_DRIVEN)
REPORT = {"summary.csv", "figures", "criteria.csv"}


def task(name: str) -> str:
    """A task as both backbones see it."""
    return f"tasks/{name}/32_crop1000_bilinear.safetensors"


def batchnorms(backbone: str) -> tuple[str, ...]:
    return ("keep", "recalibrate_upper") if backbone == RESNET else ("keep",)


def states(scorings: tuple[str, ...], sparsities: tuple[str, ...]) -> Iterator[str]:
    yield from (f"{s}/global/sparsity_{q}" for s, q in product(scorings, sparsities))


def masks(backbone: str, scorings: tuple[str, ...], sparsities: tuple[str, ...] = ("0.5", "0.9")) -> set[str]:
    return {f"masks/{backbone}/{state}.safetensors" for state in states(scorings, sparsities)}


def models(backbone: str, state: str, seed: int = 0) -> set[str]:
    """Evaluation of the pruned, fine-tuning, and evaluation of the fine-tuned model."""
    jobs = {f"evaluations/{backbone}/{state}/{batchnorm}/all.csv" for batchnorm in batchnorms(backbone)}
    tuned = f"{backbone}/{state}/keep/on_upper/seed_{seed}"
    return jobs | {f"finetuned/{tuned}.safetensors", f"evaluations/{tuned}/all.csv"}


def downstream_of_scores(backbone: str, scorings: tuple[str, ...], sparsities: tuple[str, ...]) -> set[str]:
    jobs = masks(backbone, scorings, sparsities)
    for state in states(scorings, sparsities):
        jobs |= models(backbone, state)
    return jobs


def test_a_full_run_leaves_nothing_to_do(copy: Project) -> None:
    assert copy.jobs() == set()


def test_every_job_of_the_grid_is_expected(fresh: Project) -> None:
    jobs = {task("upper"), task("hebrew")} | REPORT
    for backbone in BACKBONES:
        jobs |= {f"pretrained/{backbone}.safetensors"}
        jobs |= {f"heads/{backbone}/{task}.safetensors" for task in ("upper", "hebrew")}
        jobs |= {f"curvature/{backbone}/upper/seed_0/ggn.{s}.safetensors" for s in ("diagonal", "block8")}
        jobs |= {f"scores/{backbone}/{scoring}.safetensors" for scoring in SCORINGS}
        jobs |= downstream_of_scores(backbone, SCORINGS, ("0.5", "0.9")) | models(backbone, "dense")
    assert fresh.jobs() == jobs


def test_a_new_sparsity_runs_its_own_jobs(copy: Project) -> None:
    copy.configure(lambda config: config["grid"]["sparsities"].append(0.7))
    jobs = set(REPORT)
    for backbone in BACKBONES:
        jobs |= downstream_of_scores(backbone, SCORINGS, ("0.7",))
    assert copy.jobs() == jobs


def test_a_new_task_in_a_new_suite_runs_its_own_jobs(copy: Project) -> None:
    copy.configure(lambda config: config["suites"].update(extra=["shapes"]))
    jobs = REPORT | {task("shapes")}
    for backbone in BACKBONES:
        jobs |= {f"heads/{backbone}/shapes.safetensors"}
        for state in ("dense", *states(SCORINGS, ("0.5", "0.9"))):
            evaluations = {job for job in models(backbone, state) if job.startswith("evaluations/")}
            jobs |= {job.replace("/all.csv", "/extra.csv") for job in evaluations}
    assert copy.jobs() == jobs


def test_a_new_task_in_an_old_suite_trains_nothing(copy: Project) -> None:
    copy.configure(lambda config: config["suites"]["all"].append("shapes"))
    jobs = REPORT | {task("shapes")}
    for backbone in BACKBONES:
        jobs |= {f"heads/{backbone}/shapes.safetensors"}
        for state in ("dense", *states(SCORINGS, ("0.5", "0.9"))):
            jobs |= {job for job in models(backbone, state) if job.startswith("evaluations/")}
    assert copy.jobs() == jobs


def test_a_new_backbone_runs_its_own_jobs(copy: Project) -> None:
    new = "minivit.mocov2"
    copy.configure(lambda config: config["grid"]["backbones"].append(new))
    jobs = REPORT | {f"pretrained/{new}.safetensors"}
    jobs |= {f"heads/{new}/{task}.safetensors" for task in ("upper", "hebrew")}
    jobs |= {f"curvature/{new}/upper/seed_0/ggn.{s}.safetensors" for s in ("diagonal", "block8")}
    jobs |= {f"scores/{new}/{scoring}.safetensors" for scoring in SCORINGS}
    jobs |= downstream_of_scores(new, SCORINGS, ("0.5", "0.9")) | models(new, "dense")
    assert copy.jobs() == jobs


def test_a_new_seed_shares_what_has_no_seed(copy: Project) -> None:
    copy.configure(lambda config: config["grid"]["seeds"].append(1))
    jobs = set(REPORT)
    for backbone in BACKBONES:
        jobs |= {f"curvature/{backbone}/upper/seed_1/ggn.{s}.safetensors" for s in ("diagonal", "block8")}
        seeded = ("obd/upper/seed_1", "obs/upper/seed_1")
        jobs |= {f"scores/{backbone}/{scoring}.safetensors" for scoring in seeded}
        jobs |= masks(backbone, seeded)
        for state in states(seeded, ("0.5", "0.9")):
            jobs |= models(backbone, state, seed=1)
        # No new score, mask or pruned evaluation of `magnitude` and the dense model, only fine-tuning.
        for state in ("dense", *states(("magnitude",), ("0.5", "0.9"))):
            jobs |= {job for job in models(backbone, state, seed=1) if "seed_1" in job}
    assert copy.jobs() == jobs


def test_a_fine_tuning_setting_reruns_fine_tuning_and_what_follows(copy: Project) -> None:
    copy.configure(lambda config: config["finetune"].update(learning_rate=0.02))
    jobs = set(REPORT)
    for backbone in BACKBONES:
        for state in ("dense", *states(SCORINGS, ("0.5", "0.9"))):
            jobs |= {job for job in models(backbone, state) if "/on_upper/" in job}
    assert copy.jobs() == jobs


def test_the_damping_of_one_criterion_reruns_its_scores_and_what_follows(copy: Project) -> None:
    copy.configure(lambda config: config["criteria"]["obd"].update(damping=0.2))
    jobs = set(REPORT)
    for backbone in BACKBONES:
        jobs |= {f"scores/{backbone}/obd/upper/seed_0.safetensors"}
        jobs |= downstream_of_scores(backbone, ("obd/upper/seed_0",), ("0.5", "0.9"))
    assert copy.jobs() == jobs


def test_an_edited_function_of_the_curvature_reruns_it_and_what_follows(copy: Project) -> None:
    copy.edit("workflow_scripts/obtransfer/curvature/compute.py", "\ndef ", "\nUNUSED = 1\n\n\ndef ")
    jobs = set(REPORT)
    for backbone in BACKBONES:
        jobs |= {f"curvature/{backbone}/upper/seed_0/ggn.{s}.safetensors" for s in ("diagonal", "block8")}
        jobs |= {f"scores/{backbone}/{scoring}.safetensors" for scoring in DATA_DRIVEN}
        jobs |= downstream_of_scores(backbone, DATA_DRIVEN, ("0.5", "0.9"))
    assert copy.jobs() == jobs


def test_an_edited_criterion_reruns_that_criterion_only(copy: Project) -> None:
    copy.edit("workflow_scripts/obtransfer/criteria/obs.py", "\ndef ", "\nUNUSED = 1\n\n\ndef ")
    jobs = set(REPORT)
    for backbone in BACKBONES:
        jobs |= {f"scores/{backbone}/obs/upper/seed_0.safetensors"}
        jobs |= downstream_of_scores(backbone, ("obs/upper/seed_0",), ("0.5", "0.9"))
    assert copy.jobs() == jobs


def test_an_edited_comment_or_docstring_or_touched_script_reruns_nothing(copy: Project) -> None:
    copy.edit("workflow_scripts/obtransfer/curvature/compute.py", '"""', '"""Put differently. ')
    copy.edit("workflow_scripts/compute_curvature.py", '"""', '# A remark.\n"""')
    for script in copy.folder.glob("workflow_scripts/*.py"):
        os.utime(script, (time.time(), time.time()))
    assert copy.jobs() == set()


def test_a_new_registry_entry_reruns_nothing(copy: Project) -> None:
    copy.edit("workflow_scripts/obtransfer/registry.py", "CRITERIA:", 'EXTRA = "a:b"\nCRITERIA:')
    assert copy.jobs() == set()


def test_a_deleted_mask_is_made_again_when_asked_for(copy: Project) -> None:
    mask = f"masks/{RESNET}/magnitude/global/sparsity_0.9.safetensors"
    (copy.folder / "results" / mask).unlink()
    assert copy.jobs() == set()  # what follows is there, and the mask would be the same
    assert copy.jobs(f"results/{mask}") == {mask}
    copy.snakemake(f"results/{mask}")
    assert copy.jobs() == set()


def test_one_evaluation_by_path_on_an_empty_results_folder(fresh: Project) -> None:
    state = "obs/upper/seed_0/global/sparsity_0.7"  # not even in the grid
    target = f"evaluations/{RESNET}/{state}/keep/all.csv"
    assert fresh.jobs(f"results/{target}") == {
        f"pretrained/{RESNET}.safetensors",
        task("upper"),
        task("hebrew"),
        f"heads/{RESNET}/upper.safetensors",
        f"heads/{RESNET}/hebrew.safetensors",
        f"curvature/{RESNET}/upper/seed_0/ggn.block8.safetensors",
        f"scores/{RESNET}/obs/upper/seed_0.safetensors",
        f"masks/{RESNET}/{state}.safetensors",
        target,
    }


def test_magnitude_exists_once_for_all_sources(fresh: Project) -> None:
    fresh.configure(lambda config: config["grid"].update(sources=["upper", "hebrew"], seeds=[0, 1]))
    of_magnitude = {job for job in fresh.jobs() if "/magnitude" in job and "/on_" not in job}
    expected = set()
    for backbone in BACKBONES:
        expected |= {f"scores/{backbone}/magnitude.safetensors"} | masks(backbone, ("magnitude",))
        for state in states(("magnitude",), ("0.5", "0.9")):
            expected |= {f"evaluations/{backbone}/{state}/keep/all.csv"}
            if backbone == RESNET:  # the statistics, not the mask, come from a source
                expected |= {
                    f"evaluations/{backbone}/{state}/recalibrate_{s}/all.csv" for s in ("upper", "hebrew")
                }
    assert of_magnitude == expected
