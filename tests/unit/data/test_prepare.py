"""The step that prepares a task: its file depends on the images, not on the place, the threads or the company."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from obtransfer.artifacts import map_tensors
from obtransfer.data.pixels import select
from pictures import fill_folder
from prepare_task import prepare_task

ROOT = Path(__file__).resolve().parents[3]
VIEW = "32_crop875_bicubic"
COUNTS = {"train": 3, "calibration": 2, "validation": 1, "test": 2}
DATA = {"seed": 0, "images_per_class": COUNTS}
CODE = """
import json, pathlib, sys, time
sys.path.insert(0, "workflow_scripts")
from prepare_task import prepare_task
output, arguments, go = sys.argv[1:]
arguments = json.loads(arguments)
print("ready", flush=True)
while not pathlib.Path(go).exists():
    time.sleep(0.001)
prepare_task(pathlib.Path(output), **arguments)
"""


def arguments(images: Path, threads: int = 2) -> dict[str, Any]:
    values: dict[str, Any] = {
        "data": DATA,
        "settings": {
            "dataset": {"kind": "image_folder", "root": str(images)},
            "classes": "all",
            "max_corrupt": 0.01,
            "background": "white",
        },
    }
    made = {"rule": "prepare_images", "settings": {**values, "threads": threads, "code": "0"}}
    return {"task": "mine", "view": VIEW, **values, "threads": threads, "made": made}


def start(output: Path, values: dict[str, Any], go: Path) -> subprocess.Popen[str]:
    """A process that prepares the task as soon as there is a file `go`."""
    command = [sys.executable, "-c", CODE, str(output), json.dumps(values), str(go)]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)


@pytest.mark.slow
def test_several_steps_that_prepare_one_task_at_once_do_no_harm(tmp_path: Path) -> None:
    fill_folder(tmp_path / "images", {"cat": 9, "dog": 9})
    shutil.copytree(tmp_path / "images", tmp_path / "moved" / "images")
    go = tmp_path / "go"
    shared, alone = tmp_path / "tasks/mine/shared.safetensors", tmp_path / "tasks/mine/alone.safetensors"
    steps = [start(shared, arguments(tmp_path / "images"), go) for _ in range(3)]
    steps.append(start(alone, arguments(tmp_path / "moved" / "images", threads=1), go))
    for step in steps:
        assert step.stdout is not None and step.stdout.readline() == "ready\n"
    go.touch()
    assert [step.wait() for step in steps] == [0] * 4
    for step in steps:
        assert step.stdout is not None
        step.stdout.close()
    # Whole, nothing beside it, and the same bytes from another folder and with other threads.
    task = map_tensors(shared, kind="task")
    assert task.tensors["pixels"].shape == (16, 32, 32, 3) and task.metadata["classes"] == ["cat", "dog"]
    assert sorted(path.name for path in shared.parent.iterdir()) == [
        "alone.safetensors",
        "shared.safetensors",
    ]
    assert shared.read_bytes() == alone.read_bytes()
    assert str(tmp_path) not in json.dumps(task.metadata)


def test_pixels_stay_in_the_file_until_they_are_needed(tmp_path: Path) -> None:
    """A split of a task is a part of the mapped file, not a copy."""
    fill_folder(tmp_path / "images", {"cat": 9, "dog": 9})
    prepare_task(tmp_path / "task.safetensors", **arguments(tmp_path / "images"))
    task = map_tensors(tmp_path / "task.safetensors", kind="task")
    for split, count in COUNTS.items():
        pixels, labels = select(task, split)
        assert np.shares_memory(pixels, task.tensors["pixels"]) and len(pixels) == len(labels) == 2 * count
