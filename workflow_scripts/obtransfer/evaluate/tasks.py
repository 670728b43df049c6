"""Accuracy and loss of one backbone on many tasks."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

import numpy as np
import numpy.typing as npt

from obtransfer.artifacts import Artifact
from obtransfer.data.pixels import select
from obtransfer.errors import ObtransferError
from obtransfer.evaluate.accuracy import Score, score_logits
from obtransfer.evaluate.features import Progress, extract_features
from obtransfer.heads.ridge import RidgeHead, fit_ridge
from obtransfer.models.load import Backbone
from obtransfer.settings import Precision

Row = dict[str, str | int | float]
Examples = tuple[npt.NDArray[np.floating], npt.NDArray[np.integer]]
"""Features [N, D] and labels [N]."""


def evaluate_tasks(
    backbone: Backbone,
    tasks: Mapping[str, Artifact],
    heads: Mapping[str, RidgeHead],
    *,
    alpha: float,
    batch_size: int,
    precision: Precision = "float32",
    progress: Progress | None = None,
) -> list[Row]:
    """Score one backbone on the test split of every task, with the frozen head and with a re-fitted one.

    Each image passes the backbone once. No image is scored that a head was fitted on, unless the frozen head was fitted
    on the test split (`heads.fit_split`). Calibration and validation images are not read.

    Cost: one forward pass over the train and test splits, and one ridge fit for each task.

    Args:
        backbone: on the device that computes; not changed.
        tasks: name to "task" artefact (pixels, labels, split).
        heads: name to the head fitted on the dense backbone; every task needs one.
        alpha: ridge penalty of the probe.
        batch_size: images in a forward pass.
        precision: of the forward passes on a GPU.
        progress: called as ``progress(finished_tasks, number_of_tasks)``.

    Returns:
        Two rows for each task, ``zero_shot`` then ``probe`` (see `score_heads`), in the order of `tasks`: task, head,
        accuracy (in [0, 1]), loss (mean of ½‖f − onehot‖²), num_test.

    Raises:
        ObtransferError: a task without a head, an empty split, features that are not finite; it names the task.
    """
    missing = [name for name in tasks if name not in heads]
    if missing:
        raise ObtransferError(f"every task needs a head; got none for {', '.join(missing)}")
    extract = partial(
        extract_features,
        backbone.model,
        preprocessing=backbone.preprocessing,
        batch_size=batch_size,
        precision=precision,
    )
    rows: list[Row] = []
    for done, (name, task) in enumerate(tasks.items(), start=1):
        try:
            train, test = (_examples(task, split, extract) for split in ("train", "test"))
            scores = score_heads(heads[name], train, test, alpha)
        except ObtransferError as error:
            raise ObtransferError(f"task {name}: {error}") from error
        rows += [_row(name, head, score, len(test[1])) for head, score in scores.items()]
        if progress is not None:
            progress(done, len(tasks))
    return rows


def score_heads(head: RidgeHead, train: Examples, test: Examples, alpha: float) -> dict[str, Score]:
    """Scores of the test examples with the frozen head (``zero_shot``) and with one re-fitted on `train` (``probe``).

    A probe that is much better than the frozen head shows that pruning has moved the features but kept the information.
    The trap: the probe sees labels of the task, so a user without labels does not get its accuracy.

    Args:
        head: fitted on the features of the dense backbone.
        train: the examples of the probe, every class at least once.
        test: the scored examples, others than `train`.
        alpha: ridge penalty of the probe; that of the frozen head makes the two comparable.
    """
    features, labels = test
    probe = fit_ridge(*train, head.num_classes, alpha)
    heads = {"zero_shot": head, "probe": probe}
    return {name: score_logits(each.logits(features), labels) for name, each in heads.items()}


def _examples(task: Artifact, split: str, extract: Callable[..., npt.NDArray[np.float32]]) -> Examples:
    """Finite features and labels of one split."""
    pixels, labels = select(task, split)
    features = extract(pixels)
    bad = int(np.count_nonzero(~np.isfinite(features)))
    if bad:
        raise ObtransferError(
            f"features of the {split} split must be finite; got {bad} of {features.size} NaN or infinite; "
            "check the backbone's weights and BatchNorm statistics (a fine-tuning run that diverged?)"
        )
    return features, labels


def _row(task: str, head: str, score: Score, num_test: int) -> Row:
    """One row of an "evaluation" table."""
    return {"task": task, "head": head, "accuracy": score.accuracy, "loss": score.loss, "num_test": num_test}
