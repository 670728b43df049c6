"""The accuracies on the cards of the shipped backbones, measured again by the workflow's own rooms."""

import json
from pathlib import Path

import numpy as np
import pytest

pytestmark = pytest.mark.slow
ROOT = Path(__file__).resolve().parents[2]
CARDS = sorted((ROOT / "resources/pretrained").glob("*.json"))


@pytest.mark.parametrize("path", CARDS, ids=lambda path: path.stem)
def test_the_card_is_right_about_a_seen_and_an_unseen_task(path: Path) -> None:
    from obtransfer.data.splits import SPLITS
    from obtransfer.data.view import RENDERED
    from obtransfer.evaluate.features import extract_features
    from obtransfer.heads.ridge import fit_ridge
    from obtransfer.models.build import build
    from obtransfer.models.formats.mini import convert
    from obtransfer.models.load import load_strictly
    from obtransfer.models.preprocessing import Preprocessing
    from obtransfer.registry import TASKS
    from safetensors.torch import load_file

    card = json.loads(path.read_text())
    preprocessing = Preprocessing.read({"crop": 1.0, "interpolation": "bilinear", **card})
    model = build(card["architecture"])
    load_strictly(model, convert(load_file(path.with_suffix(".safetensors"))), path.stem)
    for task in ("greek", "handwritten"):
        counts = card["ridge_images_per_class"]
        images = TASKS[task].load(task, seed=0, images_per_class=counts, view=RENDERED)
        features, labels = {}, {}
        for split in ("train", "test"):
            chosen = images.split == SPLITS.index(split)
            labels[split] = images.labels[chosen]
            features[split] = extract_features(model, images.pixels[chosen], preprocessing, batch_size=128)
        head = fit_ridge(features["train"], labels["train"], 10)
        accuracy = np.mean(head.logits(features["test"]).argmax(1) == labels["test"])
        assert accuracy == pytest.approx(card["ridge_accuracy"][task], abs=0.004)  # two of 500 images
