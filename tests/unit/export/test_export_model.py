"""The step: what it writes is what was evaluated, and plain timm reads it."""

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from obtransfer.artifacts import map_tensors
from obtransfer.assemble import load_pruned, read_mask
from obtransfer.data.pixels import to_batch
from obtransfer.errors import ObtransferError
from obtransfer.evaluate.tasks import evaluate_tasks
from obtransfer.export.load import load_exported
from obtransfer.export.onnx_file import run_onnx
from obtransfer.heads.ridge import RidgeHead
from obtransfer.models.preprocessing import Preprocessing

PREPROCESSING = Preprocessing(32, 1.0, "bilinear", (0.5, 0.4, 0.3), (0.2, 0.3, 0.25))
PLAIN_TIMM = """
import sys
import numpy, timm, torch
assert not any(name.startswith("obtransfer") for name in sys.modules)
name, classes, checkpoint, images, outputs = sys.argv[1:]
model = timm.create_model(name, pretrained=False, num_classes=int(classes), checkpoint_path=checkpoint).eval()
with torch.no_grad():
    numpy.save(outputs, model(torch.from_numpy(numpy.load(images))).numpy())
"""


def images_of(workshop, number: int = 4) -> np.ndarray:
    pixels, _ = workshop.split("test")
    return np.ascontiguousarray(to_batch(pixels[:number], PREPROCESSING).numpy())


def outputs_of(model: torch.nn.Module, images: np.ndarray) -> np.ndarray:
    with torch.no_grad():
        return model(torch.from_numpy(images)).numpy()


def by_plain_timm(workshop, folder: Path, num_classes: int, images: np.ndarray) -> np.ndarray:
    """Outputs of `timm.create_model` in a fresh process, which cannot import this project."""
    np.save(workshop.folder / "images.npy", images)
    files = [folder / "model.safetensors", workshop.folder / "images.npy", workshop.folder / "outputs.npy"]
    command = [sys.executable, "-c", PLAIN_TIMM, workshop.architecture, str(num_classes), *map(str, files)]
    done = subprocess.run(
        command,
        env={"OMP_NUM_THREADS": "1"},
        cwd=workshop.folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return np.load(files[2])


@pytest.mark.slow
def test_update_mask_and_recalibration_are_in_the_exported_weights(workshop: Callable) -> None:
    made = workshop("miniresnet", 32)
    mask = made.draw_mask(0.3)
    dense = load_pruned(made.weights, None, None, device="cpu").model
    update = {
        name: np.where(kept, 1.25 * dense.get_parameter(name).detach().numpy(), 0).astype(np.float32)
        for name, kept in mask.items()
    }
    made.write_mask(mask, update)
    rows = made.evaluate(mask=True, recalibrated=True)
    folder = made.export(recalibrated=True, updated=True)

    backbone = load_pruned(made.weights, made.mask, made.task, device="cpu")
    expected = backbone.model
    model, card = load_exported(folder)
    for name, tensor in expected.state_dict().items():
        assert torch.equal(model.state_dict()[name], tensor), name
    for name, values in update.items():
        np.testing.assert_array_equal(model.get_parameter(name).detach().numpy(), values)
    assert not torch.equal(model.bn1.running_mean, dense.bn1.running_mean)

    head = {"colours": RidgeHead(made.ridge.weight, made.ridge.bias)}
    task = {"colours": map_tensors(made.task, kind="task")}
    again = evaluate_tasks(replace(backbone, model=model), task, head, alpha=1.0, batch_size=8)
    assert [row["accuracy"] for row in again] == [row["accuracy"] for row in rows]
    # The evaluated model is laid out channels last, and this one as users get it: other kernels, other last bits.
    assert [row["loss"] for row in again] == pytest.approx([row["loss"] for row in rows], rel=1e-5)
    assert made.evaluate(mask=True, recalibrated=True) == rows
    assert card["accuracies"][0]["zero_shot"] == rows[0]["accuracy"] == card["checks"]["accuracy"]["measured"]
    assert card["accuracies"][0]["probe"] == rows[1]["accuracy"]

    assert {name: kept.tolist() for name, kept in read_mask(folder / "mask.safetensors").kept.items()} == {
        name: kept.tolist() for name, kept in mask.items()
    }
    images = images_of(made)
    found = run_onnx(folder / "model.onnx", images, threads=1)
    outputs = outputs_of(expected, images)
    np.testing.assert_allclose(
        found, outputs, rtol=0, atol=1e-5 * np.abs(outputs).max()
    )  # of sums in float32
    assert card["checks"]["onnx"]["same_class"] == card["checks"]["onnx"]["images"] == 12
    assert "updated to compensate" in (folder / "card.md").read_text()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("architecture", "size", "form"), [("test_resnet", 160, "probe_colours"), ("test_vit", 160, "features")]
)
def test_plain_timm_loads_it_in_a_fresh_process(
    architecture: str, size: int, form: str, workshop: Callable
) -> None:
    made = workshop(architecture, size)
    made.draw_mask(0.5)
    rows = made.evaluate(mask=True, recalibrated=False)
    folder = made.export(form=form)
    images, (model, card) = images_of(made), load_exported(folder)
    found = by_plain_timm(made, folder, card["model"]["num_classes"], images)
    np.testing.assert_allclose(found, outputs_of(model, images), atol=1e-6)
    np.testing.assert_allclose(run_onnx(folder / "model.onnx", images, threads=1), found, atol=1e-5)
    text = (folder / "card.md").read_text()
    assert (
        f'timm.create_model("{architecture}", pretrained=False, num_classes={card["model"]["num_classes"]}'
        in text
    )
    if form == "probe_colours":
        pixels, labels = made.split("test")
        logits = outputs_of(model, to_batch(pixels, PREPROCESSING).numpy())
        assert logits.shape[1] == 3
        assert (
            (logits.argmax(axis=1) == labels).mean() == rows[1]["accuracy"] == card["accuracies"][0]["probe"]
        )
        assert "Classes, in order: class 0, class 1, class 2." in text


@pytest.mark.slow
@pytest.mark.parametrize(
    ("architecture", "dense_gflops"), [("resnet50", 8.2), ("vit_base_patch16_224", 35.1)]
)
def test_real_architectures_at_224(architecture: str, dense_gflops: float, workshop: Callable) -> None:
    """ResNet-50's 4.1 and ViT-B/16's 17.6 billion multiplications, as published for 224 × 224 (without classifier)."""
    made = workshop(architecture, 224)
    made.draw_mask(0.5)
    made.evaluate(mask=True, recalibrated=False)
    folder = made.export()
    card = json.loads((folder / "card.json").read_text())
    assert card["flops"]["dense"] / 1e9 == pytest.approx(dense_gflops, rel=0.02)
    assert 0.5 < card["flops"]["sparse"] / card["flops"]["dense"] < 0.53  # attention is not thinned
    assert card["sparsity"]["of_prunable"] == pytest.approx(0.5, abs=1e-3)
    ratio = card["bytes"]["mask_and_values"] / card["bytes"]["dense"]
    assert 0.53 < ratio < 0.54  # half the values, and a 32nd for the bits
    assert card["bytes"]["compressed"] < card["bytes"]["mask_and_values"]
    images = images_of(made, 2)
    found = by_plain_timm(made, folder, 0, images)
    np.testing.assert_allclose(run_onnx(folder / "model.onnx", images, threads=1), found, atol=1e-4)


@pytest.mark.slow
def test_two_of_four_is_reported_with_the_plain_statement(workshop: Callable) -> None:
    from obtransfer.masks.n_of_m import n_of_4

    made = workshop("minivit", 32)
    generator = np.random.default_rng(0)
    made.write_mask(n_of_4({name: generator.random(shape) for name, shape in made.shapes.items()}, 0.5))
    made.evaluate(mask=True, recalibrated=False)
    folder = made.export()
    text = (folder / "card.md").read_text()
    assert "20 of 21 layers keep at most 2 of every 4 inputs" in text
    assert "PyTorch can convert 5 of them" in text and "to_sparse_semi_structured" in text
    if not torch.cuda.is_available():
        assert "No GPU with units for 2:4 sparsity was available" in text


def test_fine_tuned_weights_are_not_masked_again_and_must_hold_the_mask(workshop: Callable) -> None:
    made = workshop("miniresnet", 32)
    made.draw_mask(0.5)
    made.evaluate(mask=False, recalibrated=False)
    with pytest.raises(ObtransferError, match="weights that the mask removes must be zero"):
        made.export(finetuned=True, tuning="on_colours/seed_0")


def test_weights_that_were_not_evaluated_are_refused(workshop: Callable) -> None:
    made = workshop("miniresnet", 32)
    made.draw_mask(0.9)
    made.evaluate(mask=False, recalibrated=False)
    with pytest.raises(ObtransferError, match="these are not the weights that were evaluated"):
        made.export()


def test_a_mask_of_another_model_is_refused(workshop: Callable) -> None:
    made = workshop("miniresnet", 32)
    made.evaluate(mask=False, recalibrated=False)
    made.write_mask({name: np.ones(shape, dtype=bool) for name, shape in [*made.shapes.items()][:-1]})
    with pytest.raises(ObtransferError, match=r"differs in|missing from the mask"):
        made.export(finetuned=True)
