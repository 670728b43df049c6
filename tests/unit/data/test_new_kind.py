"""A kind of data set is one file and one line: the example of docs/extending.md, as it stands."""

import csv
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from obtransfer import data
from obtransfer.artifacts import map_tensors
from obtransfer.data.pixels import select
from obtransfer.data.view import apply_view, parse_view
from obtransfer.registry import DATASETS
from pictures import fill_folder
from PIL import Image
from prepare_task import prepare_task

PAGE = (Path(__file__).parents[3] / "docs" / "extending.md").read_text("utf-8")
SECTION = PAGE[PAGE.index("## A data set") : PAGE.index("## A source of weights")]
VIEW = "32_crop875_bicubic"


def test_the_example_of_a_data_set_prepares_a_task(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ((name, code),) = re.findall(
        r"```python\n# workflow_scripts/obtransfer/data/(\w+)\.py\n(.*?)```", SECTION, re.DOTALL
    )
    assert re.search(rf'^\+ +"{name}",$', SECTION, re.MULTILINE)
    (tmp_path / f"{name}.py").write_text(code, encoding="utf-8")
    monkeypatch.setattr(data, "__path__", [*data.__path__, str(tmp_path)])
    monkeypatch.setitem(DATASETS.modules, name, f"obtransfer.data.{name}")

    (configured,) = re.findall(r"```yaml\n(.*?)```", SECTION, re.DOTALL)
    config = yaml.safe_load(configured)
    (task,), (dataset,) = config["tasks"].values(), config["datasets"].values()
    monkeypatch.chdir(tmp_path)
    fill_folder(tmp_path / dataset["root"], {"cat": 8, "dog": 8, "emu": 8})
    files = sorted((tmp_path / dataset["root"]).rglob("*.jpg"))
    with (tmp_path / dataset["root"] / "list.csv").open("w", newline="") as table:
        writer = csv.writer(table)
        writer.writerow(["file", "class", "split"])
        for number, file in enumerate(files):
            path = file.relative_to(tmp_path / dataset["root"])
            writer.writerow([path, path.parent, "train" if number % 8 < 6 else "test"])
    settings: dict[str, Any] = {"dataset": dataset, "classes": task["classes"]}
    settings |= {"max_corrupt": 0.0, "background": "white"}
    counts = {"train": 3, "calibration": 2, "validation": 1, "test": 2}
    path = tmp_path / "task.safetensors"
    arguments = {"data": {"seed": 0, "images_per_class": counts}, "settings": settings, "threads": 1}
    prepare_task(path, task="pets", view=VIEW, **arguments, made={"settings": arguments})

    made = map_tensors(path, kind="task")
    assert made.metadata["classes"] == ["cat", "dog"]
    pixels, labels = select(made, "test")
    assert labels.tolist() == [0, 0, 1, 1]
    expected = {apply_view(Image.open(files[row]), parse_view(VIEW)).tobytes() for row in (6, 7, 14, 15)}
    assert {image.tobytes() for image in pixels} == expected
    assert np.bincount(select(made, "train")[1]).tolist() == [3, 3]
