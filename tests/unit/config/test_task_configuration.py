"""Data sets, tasks and their images in the configuration: good ones pass, bad ones are reported in words, all together."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import yaml
from obtransfer.config import load, tasks
from obtransfer.errors import ObtransferError
from obtransfer.registry import DATASETS

ROOT = Path(__file__).resolve().parents[3]
CONFIG: dict[str, Any] = yaml.safe_load((ROOT / "config.yaml").read_text(encoding="utf-8")) | {
    "datasets": {
        "photos": {"kind": "image_folder", "root": "/data/photos"},
        "imagenet": {"kind": "imagenet", "root": "/data/imagenet"},
        "cifar": {"kind": "cifar10", "root": "/data", "download": True},
    },
    "tasks": {
        "own": {"dataset": "photos", "classes": "all", "images_per_class": {"train": "rest", "test": 40}},
        "fruit": {"dataset": "imagenet", "classes": [933, "n07831146", 949]},
        "drawn": {"dataset": "imagenet", "classes": {"draw": 25, "seed": 3, "part": 39}},
        "some": {"dataset": "photos"},
        "ten": {"dataset": "cifar", "classes": "all"},
        "unsaid": {"dataset": "cifar"},
    },
    "suites": {"all": ["upper", "own", "fruit", "drawn"], "rest": ["some", "ten"]},
}


def changed(path: str, value: Any) -> dict[str, Any]:
    config = copy.deepcopy(CONFIG)
    *parents, last = path.split(".")
    target = config
    for key in parents:
        target = target[key]
    target[last] = value
    return config


def lines(config: dict[str, Any]) -> list[str]:
    with pytest.raises(ObtransferError) as caught:
        load(config)
    return str(caught.value).split("\n  ")[1:]


def test_a_good_configuration_passes() -> None:
    load(CONFIG)
    load(changed("grid.sources", ["upper", "own", "ten"]))
    load(changed("heads.fit_split", "test"))
    load(changed("data.max_corrupt", 0))


def test_numbers_of_classes_are_known_where_they_can_be() -> None:
    config = load(CONFIG)
    found = {task: tasks.num_classes(config, task) for task in [*CONFIG["tasks"], "upper", "handwritten"]}
    assert found == {
        "own": None, "fruit": 3, "drawn": 25, "some": None, "ten": 10, "unsaid": 10, "upper": 10, "handwritten": 10,
    }  # fmt: skip
    own = {"train": "rest", "calibration": 30, "validation": 10, "test": 40}
    assert tasks.images_per_class(config, "own") == own
    assert tasks.images_per_class(config, "upper") == CONFIG["data"]["images_per_class"]


BAD = [
    ("datasets.photos.kind", "imagefolder", "datasets.photos.kind: unknown kind of data set 'imagefolder'; did you mean 'image_folder'? ..."),
    ("datasets.photos", {"kind": "image_folder"}, "datasets.photos.root: missing; needed text that is not empty (folder of the data set, ..."),
    ("datasets.photos.root", "", "datasets.photos.root: got the text ''; needed text that is not empty (folder of the data set, ..."),
    ("datasets.photos.download", True, "datasets.photos.download: image_folder can't be downloaded, only cifar10, ..."),
    ("datasets.photos.path", "x", "datasets.photos.path: unknown key; known here: kind, root, download"),
    ("datasets.My-Photos", {"kind": "image_folder", "root": "x"}, "datasets.My-Photos: got the name 'My-Photos'; needed lower-case ..."),
    ("tasks.own.dataset", "photo", "tasks.own.dataset: unknown data set 'photo'; did you mean 'photos'? there are: photos, ..."),
    ("tasks.own", {"classes": "all"}, "tasks.own.dataset: missing; needed text (name under datasets)"),
    ("tasks.upper", {"dataset": "photos"}, "tasks.upper: 'upper' is one of the tasks that are always there; choose ..."),
    ("tasks.own.classes", "every", "tasks.own.classes: got the text 'every'; needed a list of at least 2 entries or 'all' or a mapping (indices and names of classes, all, or a random draw; default: 10 drawn)"),
    ("tasks.own.classes", 10, "tasks.own.classes: got 10; needed a list of at least 2 entries or 'all' or a mapping (indices and names of classes, ..."),
    ("tasks.own.classes", ["cat"], "tasks.own.classes: got the list ['cat']; needed a list of at least 2 entries or ..."),
    ("tasks.own.classes", ["cat", True], "tasks.own.classes[1]: got true; needed a whole number, at least 0, or text (index of a class, or its name in quotes); YAML reads yes, ..."),
    ("tasks.own.classes", ["cat", -1], "tasks.own.classes[1]: got -1; needed a whole number, at least 0, or text (index of ..."),
    ("tasks.fruit.classes", [933, 7, 933], "tasks.fruit.classes[2]: 933 is in this list already, at [0]; remove one"),
    ("tasks.fruit.classes", [7, 1000], "tasks.fruit.classes[1]: got 1000; the data set has 1000 classes, 0 to 999"),
    ("tasks.drawn.classes", {"draw": 1}, "tasks.drawn.classes.draw: got 1; needed a whole number, at least 2 (number of classes to draw)"),
    ("tasks.drawn.classes", {"seed": 1}, "tasks.drawn.classes.draw: missing; needed a whole number, at least 2 (number of classes to draw)"),
    ("tasks.drawn.classes.part", 40, "tasks.drawn.classes.draw: part 40 of draws of 25 needs 1025 classes; there are 1000"),
    ("tasks.ten.classes", {"draw": 11}, "tasks.ten.classes.draw: part 0 of draws of 11 needs 11 classes; there are 10"),
    ("tasks.own.images_per_class", {"train": "most"}, "tasks.own.images_per_class.train: got the text 'most'; needed a whole number, at least 1, or 'rest' (number of images of each class; rest..."),
    ("tasks.own.images_per_class", {"calibration": "rest"}, "tasks.own.images_per_class.calibration: got the text 'rest'; ..."),
    ("tasks.own.images_per_class", {"test": 0}, "tasks.own.images_per_class.test: got 0; needed a whole number, at least 1, or 'rest' (..."),
    ("tasks.own.images_per_class", {"val": 3}, "tasks.own.images_per_class.val: unknown key; known here: train, ..."),
    ("data.max_corrupt", 2, "data.max_corrupt: got 2; needed a number, at least 0 and at most 1 (largest share of ..."),
    ("heads.fit_split", "val", "heads.fit_split: got the text 'val'; needed one of train, test (split on ..."),
    ("suites.rest", ["som"], "suites.rest[0]: unknown task 'som'; did you mean 'some'? there are: upper, ..."),
    ("grid.sources", ["unsaid"], "grid.sources[0]: the source 'unsaid' is in no suite and would never be evaluated; ..."),
    ("grid.sources", ["drawn", "upper"], "curvature.num_examples: got 200; ..."),
]  # fmt: skip


@pytest.mark.parametrize(
    ("path", "value", "expected"), BAD, ids=[f"{path}={value!r:.30}" for path, value, _ in BAD]
)
def test_each_error_is_one_line(path: str, value: Any, expected: str) -> None:
    config = changed(path, value)
    if "num_examples" in expected:
        config["curvature"]["num_examples"] = 200
        config["tasks"]["drawn"]["images_per_class"] = {"calibration": 7}
        expected = (
            "curvature.num_examples: got 200; needed at most 175 (25 classes × 7 calibration images of drawn)"
        )
    (line,) = lines(config)
    assert line.startswith(expected.removesuffix("...")) and (line == expected or expected.endswith("...")), (
        line
    )


def test_fewer_examples_than_classes_name_the_source() -> None:
    config = changed("grid.sources", ["upper", "drawn"])
    config["curvature"]["num_examples"] = 20
    assert lines(config) == [
        "curvature.num_examples: got 20; needed at least 25, one of every class of drawn"
    ]


def test_all_errors_are_reported_together() -> None:
    config = changed("datasets.photos.kind", "imagefolder")
    config["tasks"]["fruit"]["dataset"] = "imagnet"
    config["tasks"]["drawn"]["classes"] = {"draw": 1001}
    config["suites"]["all"] = ["upper", "upper", "owm"]
    starts = (
        "datasets.photos.kind",
        "tasks.fruit.dataset",
        "tasks.drawn.classes.draw",
        "suites.all[1]",
        "suites.all[2]",
    )
    found = lines(config)
    for start in starts:
        assert any(line.startswith(f"{start}: ") for line in found), start
    assert len(found) == len(starts)


def test_wrong_types_everywhere_break_nothing() -> None:
    paths = [
        "datasets",
        "tasks",
        "datasets.photos",
        "tasks.own",
        "tasks.own.classes",
        "tasks.own.images_per_class",
    ]
    paths += [
        "tasks.own.dataset",
        "datasets.photos.kind",
        "tasks.drawn.classes.draw",
        "tasks.drawn.classes.part",
    ]
    for value in (None, 1, "x", [], {}, [[1]], {"a": {"b": 1}}, [None], {None: None}, [{}], True):
        for path in paths:
            for sources in (["own", "drawn"], ["fruit"]):
                config = changed(path, value)
                config["grid"]["sources"] = sources
                config["curvature"]["num_examples"] = 60
                try:
                    load(config)
                except ObtransferError as error:
                    assert path.split(".")[0].removesuffix("s") in str(error)


def test_every_kind_of_data_set_may_be_configured() -> None:
    for kind in DATASETS:
        load(changed("datasets.photos.kind", kind))
