"""Are the configuration's data sets and tasks right?"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from obtransfer.config.lookup import entries, mapping, unknown
from obtransfer.config.schema import shown
from obtransfer.dag import grid
from obtransfer.registry import DATASETS, TASKS

ALL, REST = "all", "rest"


def known_tasks(config: Mapping[str, Any]) -> list[str]:
    """Names of the tasks that a suite or a source may be."""
    return [*TASKS, *(name for name in mapping(config, "tasks") if isinstance(name, str))]


def data_sets(config: Mapping[str, Any]) -> Iterator[str]:
    """Data sets are of a known kind, and only some can be downloaded."""
    for name in mapping(config, "datasets"):
        entry = mapping(config, "datasets", name)
        path, kind = f"datasets.{name}", entry.get("kind")
        if not isinstance(kind, str):
            continue
        yield from unknown(f"{path}.kind", kind, DATASETS, "kind of data set")
        if kind in DATASETS and entry.get("download") is True and not DATASETS[kind].downloads:
            able = [known for known, entry in DATASETS.items() if entry.downloads]
            yield f"{path}.download: {kind} can't be downloaded, only {', '.join(able)}; bring its files to its root"


def tasks(config: Mapping[str, Any]) -> Iterator[str]:
    """Tasks have a data set, classes that it may have, and numbers of images."""
    for name in mapping(config, "tasks"):
        entry, path = mapping(config, "tasks", name), f"tasks.{name}"
        if name in TASKS:
            yield f"{path}: {name!r} is one of the tasks that are always there; choose another name"
        data_set = entry.get("dataset")
        if isinstance(data_set, str):
            known = [known for known in mapping(config, "datasets") if isinstance(known, str)]
            yield from unknown(f"{path}.dataset", data_set, known, "data set")
        yield from _classes(f"{path}.classes", entry.get("classes"), _total(config, data_set))
        yield from _counts(f"{path}.images_per_class", mapping(entry, "images_per_class"))


def calibration(config: Mapping[str, Any]) -> Iterator[str]:
    """Curvature reads an example of every class of a source, and no more than there are."""
    wanted = mapping(config, "curvature").get("num_examples")
    sources = [name for _, name in entries(config, "grid", "sources")]
    sizes = [(classes, source) for source in sources if (classes := _num_classes(config, source))]
    if not isinstance(wanted, int) or wanted <= 0 or not sizes:
        return
    most, source = max(sizes)
    if wanted < most:
        yield f"curvature.num_examples: got {wanted}; needed at least {most}, one of every class of {source}"
    images = [
        (classes * count, classes, count, source)
        for classes, source in sizes
        if isinstance(count := _calibration_images(config, source), int) and count > 0
    ]
    if images and wanted > min(images)[0]:
        fewest, classes, count, source = min(images)
        yield (
            f"curvature.num_examples: got {wanted}; needed at most {fewest} ({classes} classes × {count} calibration "
            f"images of {source})"
        )


def _total(config: Mapping[str, Any], data_set: Any) -> int | None:
    """How many classes a data set has, where its kind says it."""
    kind = mapping(config, "datasets", data_set).get("kind") if isinstance(data_set, str) else None
    return DATASETS[kind].num_classes if isinstance(kind, str) and kind in DATASETS else None


def _classes(path: str, chosen: Any, total: int | None) -> Iterator[str]:
    if isinstance(chosen, str) and chosen != ALL:
        yield f"{path}: got the text {chosen!r}; needed {ALL!r}, a list, or a mapping with draw"
    if isinstance(chosen, list):
        if len(chosen) < 2:
            yield f"{path}: got {shown(chosen)}; needed at least 2 classes"
        for index, entry in enumerate(chosen):
            if total and isinstance(entry, int) and entry >= total:
                yield f"{path}[{index}]: got {entry}; the data set has {total} classes, 0 to {total - 1}"
    if isinstance(chosen, Mapping):
        numbers = [chosen.get("draw"), chosen.get("part", 0)]
        if total and all(isinstance(number, int) for number in numbers):
            count, part = numbers
            if count * (part + 1) > total:
                yield f"{path}.draw: part {part} of draws of {count} needs {count * (part + 1)} classes; there are {total}"


def _counts(path: str, counts: Mapping[Any, Any]) -> Iterator[str]:
    for split, count in counts.items():
        if split in ("train", "test") and isinstance(count, str) and count != REST:
            yield f"{path}.{split}: got the text {count!r}; needed a number or {REST!r}"


def _num_classes(config: Mapping[str, Any], task: str) -> int | None:
    try:
        return grid.num_classes(config, task)
    except (KeyError, TypeError, ValueError, AttributeError):  # wrong in a way that is told elsewhere
        return None


def _calibration_images(config: Mapping[str, Any], task: str) -> Any:
    own = mapping(config, "tasks", task, "images_per_class").get("calibration")
    return own if own is not None else mapping(config, "data", "images_per_class").get("calibration")
