"""Are the configuration's data sets and tasks right?"""

from __future__ import annotations

from obtransfer.config.describe import Path, listed, unknown
from obtransfer.config.entry import Found, Raw
from obtransfer.config.tasks import images_per_class, num_classes
from obtransfer.registry import DATASETS, TASKS
from obtransfer.settings import Configuration, Draw, TaskEntry


def data_sets(raw: Raw, config: Configuration) -> Found:
    """Data sets are of a known kind, and only some can be downloaded."""
    for name, entry in config.datasets.items():
        path = ("datasets", name)
        if entry.kind not in DATASETS:
            yield (*path, "kind"), unknown(entry.kind, DATASETS, "kind of data set")
        elif entry.download and not DATASETS[entry.kind].downloads:
            able = listed(kind for kind in DATASETS if DATASETS[kind].downloads)
            yield (
                (*path, "download"),
                f"{entry.kind} can't be downloaded, only {able}; bring its files to its root",
            )


def tasks(raw: Raw, config: Configuration) -> Found:
    """Tasks have a name of their own, a data set, and classes that it may have."""
    for name, task in config.tasks.items():
        path = ("tasks", name)
        if name in TASKS:
            yield path, f"{name!r} is one of the tasks that are always there; choose another name"
        if task.dataset not in config.datasets:
            yield (*path, "dataset"), unknown(task.dataset, config.datasets, "data set")
        else:
            kind = config.datasets[task.dataset].kind
            yield from _classes(
                (*path, "classes"), task, DATASETS[kind].num_classes if kind in DATASETS else None
            )


def _classes(path: Path, task: TaskEntry, total: int | None) -> Found:
    chosen = task.classes
    if total is None or chosen is None or isinstance(chosen, str):
        return
    if isinstance(chosen, Draw):
        needed = chosen.draw * (chosen.part + 1)
        if needed > total:
            part = f"part {chosen.part} of draws of {chosen.draw} needs {needed} classes"
            yield (*path, "draw"), f"{part}; there are {total}"
        return
    for index, entry in enumerate(chosen):
        if isinstance(entry, int) and entry >= total:
            yield (*path, index), f"got {entry}; the data set has {total} classes, 0 to {total - 1}"


def calibration(raw: Raw, config: Configuration) -> Found:
    """Curvature reads an example of every class of a source, no more than there are, and at least one in every share."""
    path, wanted, shares = (
        ("curvature", "num_examples"),
        config.curvature.num_examples,
        config.curvature.shares,
    )
    if shares > wanted:
        needed = f"needed at most {wanted}, since every share needs one of curvature.num_examples"
        yield ("curvature", "shares"), f"got {shares}; {needed}"
    sizes = [(classes, source) for source in config.grid.sources if (classes := _num_classes(config, source))]
    if not sizes:
        return
    most, source = max(sizes)
    if wanted < most:
        yield path, f"got {wanted}; needed at least {most}, one of every class of {source}"
    counts = {name: images_per_class(config, name)["calibration"] for _, name in sizes}
    fewest, classes, source = min((classes * int(counts[name]), classes, name) for classes, name in sizes)
    if wanted > fewest:
        there = f"{classes} classes × {counts[source]} calibration images of {source}"
        yield path, f"got {wanted}; needed at most {fewest} ({there})"


def _num_classes(config: Configuration, task: str) -> int | None:
    """None also where another check reports the task."""
    if task in TASKS:
        return TASKS[task].num_classes
    entry = config.tasks.get(task)
    data_set = config.datasets.get(entry.dataset) if entry else None
    return num_classes(config, task) if data_set and data_set.kind in DATASETS else None
