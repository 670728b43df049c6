"""Kills, damaged files, wrong checksums and bad numbers: nothing half-written is believed, nothing finished is lost."""

import json
import os
import random
import signal
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest
from obtransfer.artifacts import read_tensors, write_tensors
from project import Project
from safetensors.numpy import load_file, save_file

pytestmark = pytest.mark.slow

BACKBONE = "miniresnet.supervised"
STATE = "obs/upper/seed_0/global/sparsity_0.9"
MASK = f"masks/{BACKBONE}/{STATE}.safetensors"


def unlock(project: Project) -> None:
    subprocess.run(
        ["python", "workflow_scripts/tools/unlock.py"], cwd=project.folder, check=True, capture_output=True
    )


def processes_of(project: Project) -> list[int]:
    """Snakemake and the steps it has started, in the project's folder."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if (process / "cwd").resolve() == project.folder and int(process.name) != os.getpid():
                found.append(int(process.name))
        except OSError:
            continue
    return found


def test_killed_at_random_moments_it_ends_with_the_same_results(completed: Project, fresh: Project) -> None:
    chance = random.Random(0)
    finished: dict[Path, int] = {}
    for attempt in range(6):
        controller = subprocess.Popen(
            fresh.command(), cwd=fresh.folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        time.sleep(chance.uniform(6, 16))
        steps = [process for process in processes_of(fresh) if process != controller.pid]
        if attempt % 2 and steps:  # a step alone: Snakemake then reports the failure and ends
            os.kill(chance.choice(steps), signal.SIGKILL)
            time.sleep(chance.uniform(0, 2))
        controller.kill()
        controller.wait()
        for process in (
            processes_of(fresh) if attempt < 2 else ()
        ):  # as a reboot does; later attempts leave orphans
            os.kill(process, signal.SIGKILL)
        unlock(fresh)
        assert not processes_of(fresh), "a step that lost its run still writes"
        done = {path: path.stat().st_mtime_ns for path in fresh.folder.glob("results/**/*.safetensors")}
        done = {path: when for path, when in done.items() if is_recorded(fresh, path)}
        for path, when in finished.items():
            assert done.get(path) == when, f"{path} was finished, and made again"
        finished = done
    fresh.snakemake()
    assert fresh.jobs() == set()
    for path, when in finished.items():
        assert path.stat().st_mtime_ns == when, f"{path} was finished, and made again"
    assert comparable(fresh) == comparable(completed)
    assert not list(fresh.folder.glob("results/**/*.partial"))
    assert not list(fresh.folder.glob("results/**/*.checkpoint.*"))


def is_recorded(project: Project, path: Path) -> bool:
    """Whether Snakemake knows the job as finished: its metadata exist and are not marked incomplete."""
    import base64

    name = base64.b64encode(str(path.relative_to(project.folder)).encode()).decode()
    matches = list((project.folder / ".snakemake/metadata").glob(f"**/{name}"))
    return bool(matches) and not json.loads(matches[0].read_text()).get("incomplete", False)


def comparable(project: Project) -> dict[str, bytes]:
    return {name: content for name, content in project.artefacts().items() if not name.startswith("logs/")}


def test_equal_runs_give_equal_bytes(completed: Project, fresh: Project) -> None:
    target = f"results/finetuned/{BACKBONE}/{STATE}/keep/on_upper/seed_0.safetensors"
    fresh.snakemake(target)
    again = fresh.artefacts()
    assert len(again) >= 7
    first = completed.artefacts()
    assert {name: content == first[name] for name, content in again.items()} == dict.fromkeys(again, True)


@pytest.mark.parametrize("damage", ["truncated", "altered"])
def test_a_damaged_artefact_is_named_with_the_command_that_remakes_it(copy: Project, damage: str) -> None:
    mask = copy.folder / "results" / MASK
    whole = mask.read_bytes()
    mask.write_bytes(whole[:-7] if damage == "truncated" else whole[:-1] + bytes([whole[-1] ^ 1]))
    target = f"results/evaluations/{BACKBONE}/{STATE}/keep/all.csv"
    (copy.folder / target).unlink()
    done = copy.snakemake(target, check=False)
    assert done.returncode != 0
    message = f"results/{MASK} is damaged"
    assert message in done.stderr
    command = f"snakemake --cores 2 --force results/{MASK}"
    assert command in done.stderr and "Traceback" not in done.stderr.split(message)[1].split("Log:")[0]
    copy.snakemake("--force", f"results/{MASK}")
    assert mask.read_bytes() == whole
    copy.snakemake(target)


def test_a_wrong_checksum_names_expected_and_found(fresh: Project) -> None:
    weights = fresh.folder / f"resources/pretrained/{BACKBONE}.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    done = fresh.snakemake(f"results/pretrained/{BACKBONE}.safetensors", check=False)
    assert (
        done.returncode != 0
        and "by the registry or the configuration the checksum should begin with" in done.stderr
        and f"{BACKBONE}.safetensors" in done.stderr
    )
    assert not list(fresh.folder.glob("results/pretrained/*"))


def test_missing_weights_are_named(fresh: Project) -> None:
    (fresh.folder / f"resources/pretrained/{BACKBONE}.safetensors").unlink()
    done = fresh.snakemake(f"results/pretrained/{BACKBONE}.safetensors", check=False)
    assert done.returncode != 0 and f"resources/pretrained/{BACKBONE}.safetensors" in done.stderr


@pytest.mark.parametrize(
    "target, message",
    [
        (
            "pretrained/miniresnet.moco.safetensors",
            "unknown pretraining of miniresnet: 'moco'; did you mean 'mocov2'? there are: supervised, mocov2, dino",
        ),
        ("tasks/uper/32_crop1000_bilinear.safetensors", "no task is called 'uper'; there are: upper"),
        (
            f"scores/{BACKBONE}/obx/upper/seed_0.safetensors",
            "no criterion or label is called 'obx'; there are: magnitude",
        ),
        (
            f"masks/{BACKBONE}/magnitude/globl/sparsity_0.5.safetensors",
            "no allocation is called 'globl'; there are",
        ),
        (f"evaluations/{BACKBONE}/dense/keep/al.csv", "no suite is called 'al'; there are: all"),
        (f"curvature/{BACKBONE}/upper/seed_0/fisher.diagonal.safetensors", "no estimator is called 'fisher'"),
    ],
)
def test_unknown_names_in_targets_are_told_with_those_that_exist(
    fresh: Project, target: str, message: str
) -> None:
    done = fresh.snakemake("--dry-run", f"results/{target}", check=False)
    assert done.returncode != 0 and message in done.stdout + done.stderr


def test_weights_that_are_not_finite_are_refused_by_name_and_count(fresh: Project) -> None:
    import hashlib

    weights = fresh.folder / f"resources/pretrained/{BACKBONE}.safetensors"
    tensors = load_file(weights)
    name = "layer1.0.conv1.weight"
    tensors[name][0, 0, 0, :2] = [np.nan, np.inf]
    before = hashlib.sha256(weights.read_bytes()).hexdigest()
    save_file(tensors, weights)
    after = hashlib.sha256(weights.read_bytes()).hexdigest()
    fresh.edit("workflow_scripts/obtransfer/models/known.py", before, after)
    done = fresh.snakemake(f"results/pretrained/{BACKBONE}.safetensors", check=False)
    assert done.returncode != 0 and f"{name}: 2 of {tensors[name].size}" in done.stderr


def test_curvature_and_scores_that_are_not_finite_stop_the_step(copy: Project) -> None:
    path = copy.folder / f"results/curvature/{BACKBONE}/upper/seed_0/ggn.diagonal.safetensors"
    curvature = read_tensors(path, kind="curvature")
    name = "layer1.0.conv1.weight"
    curvature.tensors[name].flat[:3] = np.nan
    write_tensors(path, curvature.tensors, kind="curvature", metadata=curvature.metadata)
    done = copy.snakemake(f"results/scores/{BACKBONE}/obd/upper/seed_0.safetensors", check=False)
    assert done.returncode != 0 and f"{name}: 3 of {curvature.tensors[name].size}" in done.stderr


def test_all_configuration_errors_come_at_once_before_any_job(fresh: Project) -> None:
    def spoil(config: dict) -> None:
        config["grid"]["sparsities"] = [1.5]
        config["grid"]["backbones"] = ["miniresnet.supervized"]
        config["curvature"]["nun_examples"] = 3

    fresh.configure(spoil)
    done = fresh.snakemake(check=False)
    said = done.stdout + done.stderr
    assert done.returncode != 0
    for part in ("grid.sparsities[0]", "did you mean 'supervised'", "num_examples"):
        assert part in said, said
    assert not (fresh.folder / "results").exists()
