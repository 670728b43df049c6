"""Accuracy and loss of one backbone on many tasks."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from obtransfer.artifacts import Artifact
from obtransfer.data.pixels import select
from obtransfer.errors import ObtransferError
from obtransfer.evaluate.accuracy import Score
from obtransfer.evaluate.features import Progress, extract_features
from obtransfer.evaluate.probe import score_probe, score_zero_shot
from obtransfer.heads.ridge import RidgeHead
from obtransfer.models.preprocessing import Preprocessing

Extract = Callable[[npt.NDArray[np.uint8]], npt.NDArray[np.float32]]


def evaluate_tasks(
    model: nn.Module,
    tasks: Mapping[str, Artifact],
    heads: Mapping[str, RidgeHead],
    preprocessing: Preprocessing,
    *,
    alpha: float,
    batch_size: int,
    device: torch.device | str = "cpu",
    mixed_precision: bool = False,
    progress: Progress | None = None,
) -> list[dict[str, Any]]:
    """Score one backbone on the test split of every task, with the frozen head and with a re-fitted one.

    Each image passes the backbone once. ``zero_shot``: the head of the dense backbone, on the test split.
    ``probe``: a ridge head fitted on this backbone's features of the train split, on the test split. No image that
    anything was fitted on is scored; calibration and validation images are not touched.

    Cost: one forward pass over the train and test splits, and one ridge fit a task.

    Args:
        model: the backbone, [B, 3, H, W] to [B, D]; moved to `device`, else untouched.
        tasks: name to "task" artefact (pixels, labels, split).
        heads: name to the head fitted on the dense backbone; every task needs one.
        preprocessing: of the backbone, for the normalisation.
        alpha: ridge penalty of the probe.
        batch_size: images a forward pass.
        device: where to compute the features.
        mixed_precision: of the features.
        progress: called as ``progress(tasks_done, number_of_tasks)``.

    Returns:
        Two rows a task, ``zero_shot`` then ``probe``, in the order of `tasks`: task, head, accuracy (in [0, 1]), loss
        (mean of ½‖f − onehot‖²), num_test.

    Raises:
        ObtransferError: a task without a head, an empty split, features that are not finite; it names the task.
    """
    missing = [name for name in tasks if name not in heads]
    if missing:
        raise ObtransferError(
            f"Every task needs a head; none for {', '.join(missing)} (got {', '.join(heads)})."
        )

    def extract(pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        return extract_features(
            model,
            pixels,
            preprocessing,
            batch_size=batch_size,
            device=device,
            mixed_precision=mixed_precision,
        )

    rows: list[dict[str, Any]] = []
    for done, (name, task) in enumerate(tasks.items(), start=1):
        rows += _task_rows(name, task, heads[name], extract, alpha)
        if progress is not None:
            progress(done, len(tasks))
    return rows


def _task_rows(
    name: str, task: Artifact, head: RidgeHead, extract: Extract, alpha: float
) -> list[dict[str, Any]]:
    """The two rows of one task; whatever goes wrong is told with the task's name."""
    try:
        train_features, train_labels = _features_of(task, "train", extract)
        test_features, test_labels = _features_of(task, "test", extract)
        scores = {
            "zero_shot": score_zero_shot(head, test_features, test_labels),
            "probe": score_probe(
                train_features,
                train_labels,
                test_features,
                test_labels,
                num_classes=head.num_classes,
                alpha=alpha,
            ),
        }
    except ObtransferError as error:
        raise ObtransferError(f"Task {name}: {error}") from error
    return [_row(name, kind, score, len(test_labels)) for kind, score in scores.items()]


def _features_of(
    task: Artifact, split: str, extract: Extract
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]:
    """Finite features and labels of one split."""
    pixels, labels = select(task, split)
    features = extract(pixels)
    bad = int(np.count_nonzero(~np.isfinite(features)))
    if bad:
        raise ObtransferError(
            f"{bad} of {features.size} features of the {split} split are NaN or infinite; "
            "the backbone's weights or BatchNorm statistics are broken (a fine-tuning run that diverged?)."
        )
    return features, labels


def _row(task: str, head: str, score: Score, num_test: int) -> dict[str, Any]:
    """One row of an "evaluation" table."""
    return {"task": task, "head": head, "accuracy": score.accuracy, "loss": score.loss, "num_test": num_test}
