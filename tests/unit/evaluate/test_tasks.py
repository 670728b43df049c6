"""A small evaluation against a plain loop."""

import numpy as np
import pytest
import torch
from obtransfer.artifacts import Artifact
from obtransfer.errors import ObtransferError
from obtransfer.evaluate.tasks import evaluate_tasks
from obtransfer.heads.ridge import RidgeHead, fit_ridge
from obtransfer.models.load import Backbone

TRAIN, CALIBRATION, VALIDATION, TEST = range(4)


def make_task(name, seed, num_classes=3, per_split=(5, 2, 2, 4)):
    rng = np.random.default_rng(seed)
    split = np.repeat(np.arange(4), np.array(per_split) * num_classes).astype(np.uint8)
    labels = (np.arange(len(split)) % num_classes).astype(np.int64)
    order = rng.permutation(len(split))
    pixels = rng.integers(0, 128, (len(split), 8, 8, 3), dtype=np.uint8)
    pixels += (labels * 50)[:, None, None, None].astype(np.uint8)
    tensors = {"pixels": pixels[order], "labels": labels[order], "split": split[order]}
    return Artifact(tensors, {"task": name}, "")


@pytest.fixture
def backbone(net, norm):
    return Backbone(net, norm["preprocessing"], (), "", {})


@pytest.fixture
def tasks():
    return {"one": make_task("one", 1), "two": make_task("two", 2, num_classes=4)}


@pytest.fixture
def heads(tasks):
    rng = np.random.default_rng(3)
    return {
        name: RidgeHead(rng.normal(size=(k, 6)), rng.normal(size=k)) for name, k in (("two", 4), ("one", 3))
    }


def plain(net, task, head, as_input, alpha):
    """zero_shot and probe, one image at a time, by the definitions."""
    features = []
    for image in task.tensors["pixels"]:
        with torch.no_grad():
            features.append(net(as_input(image[None]))[0].double().numpy())
    features, labels, split = np.stack(features), task.tensors["labels"], task.tensors["split"]
    fitted = fit_ridge(features[split == TRAIN], labels[split == TRAIN], len(head.bias), alpha)
    scores = []
    for weight, bias in ((head.weight, head.bias), (fitted.weight, fitted.bias)):
        right, losses = 0, []
        for feature, label in zip(features[split == TEST], labels[split == TEST], strict=True):
            logits = weight @ feature + bias
            right += int(np.argmax(logits) == label)
            losses.append(sum(0.5 * (logit - (k == label)) ** 2 for k, logit in enumerate(logits)))
        scores.append((right / len(losses), float(np.mean(losses)), len(losses)))
    return scores


def test_equals_a_plain_loop(backbone, tasks, heads, as_input):
    told = []
    rows = evaluate_tasks(
        backbone, tasks, heads, alpha=0.3, batch_size=8, progress=lambda *done: told.append(done)
    )
    assert [(row["task"], row["head"]) for row in rows] == [
        ("one", "zero_shot"), ("one", "probe"), ("two", "zero_shot"), ("two", "probe"),
    ]  # fmt: skip
    assert list(rows[0]) == ["task", "head", "accuracy", "loss", "num_test"]
    expected = [
        score for name in tasks for score in plain(backbone.model, tasks[name], heads[name], as_input, 0.3)
    ]
    for row, (accuracy, loss, num_test) in zip(rows, expected, strict=True):
        assert row["accuracy"] == pytest.approx(accuracy) and row["num_test"] == num_test
        assert row["loss"] == pytest.approx(loss, rel=1e-4)
    assert told == [(1, 2), (2, 2)]


def test_calibration_and_validation_images_change_nothing(backbone, tasks, heads):
    rows = evaluate_tasks(backbone, tasks, heads, alpha=1.0, batch_size=8)
    for task in tasks.values():
        unused = np.isin(task.tensors["split"], (CALIBRATION, VALIDATION))
        task.tensors["pixels"][unused] = 0
        task.tensors["labels"][unused] = 0
    assert evaluate_tasks(backbone, tasks, heads, alpha=1.0, batch_size=8) == rows


def test_test_labels_do_not_reach_the_probe(backbone, tasks, heads):
    """Wrong test labels must not be predictable: accuracy under a shift of labels is what remains."""
    before = evaluate_tasks(backbone, tasks, heads, alpha=1e-6, batch_size=8)
    task = tasks["two"].tensors
    task["labels"][task["split"] == TEST] = (task["labels"][task["split"] == TEST] + 1) % 4
    after = evaluate_tasks(backbone, tasks, heads, alpha=1e-6, batch_size=8)
    assert before[3]["accuracy"] + after[3]["accuracy"] <= 1.0


def test_refusals_name_the_task(backbone, tasks, heads):
    arguments = {"alpha": 1.0, "batch_size": 8}
    with pytest.raises(ObtransferError, match="got none for two"):
        evaluate_tasks(backbone, tasks, {"one": heads["one"]}, **arguments)
    tasks["two"] = make_task("two", 2, per_split=(0, 2, 2, 4))
    with pytest.raises(ObtransferError, match=r"task two: .*train"):
        evaluate_tasks(backbone, tasks, heads, **arguments)
    with torch.no_grad():
        backbone.model.norm_last.bias[0] = torch.nan
    with pytest.raises(
        ObtransferError, match="task one: features of the train split must be finite; got 15 of 90"
    ):
        evaluate_tasks(backbone, tasks, heads, **arguments)


def test_backbone_pruned_to_nothing_scores_chance(backbone, tasks, heads):
    with torch.no_grad():
        for parameter in backbone.model.parameters():
            parameter.zero_()
    rows = evaluate_tasks(backbone, tasks, heads, alpha=1.0, batch_size=8)
    assert [row["accuracy"] for row in rows] == pytest.approx([1 / 3, 1 / 3, 1 / 4, 1 / 4])
