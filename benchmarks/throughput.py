"""Evaluation and fine-tuning against bare PyTorch on the same images, and masks of large networks.

    python benchmarks/throughput.py --threads 1 --clock cpu

* features: images a second of `extract_features` from stored bytes, over those of the bare forward passes on tensors that
  are ready on the device;
* fine-tuning: images a second of four short epochs with a mask at 70 %, start included, over those of a plain dense training
  loop that reads the same bytes;
* mask: seconds to put one on, and its bytes on the disk over one bit a weight.

The versions are measured in turn, and the ratio is that of the best of the repeats. On a GPU the networks are ResNet-50
and ViT-B/16 at 224.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import nn

sys.path.insert(0, str(Path(__file__).parents[1] / "workflow_scripts"))

from common import DEVICE, NUM_CLASSES, SETTINGS, Problem, clock, markdown
from obtransfer.artifacts import write_tensors
from obtransfer.data.pixels import to_batch
from obtransfer.evaluate.features import extract_features
from obtransfer.finetune.loop import finetune
from obtransfer.finetune.run import TrainingRun
from obtransfer.heads.ridge import RidgeHead
from obtransfer.masks.apply import apply_mask
from obtransfer.masks.mask import Mask
from obtransfer.models.load import Backbone
from obtransfer.models.preprocessing import Preprocessing
from obtransfer.models.prunable import prunable_parameters
from obtransfer.settings import FinetuneSettings

PREPROCESSING = Preprocessing(32, 1.0, "bilinear", (0.5, 0.5, 0.5), (0.25, 0.25, 0.25))
BATCHES, EPOCHS = 4, 4
LARGE = "vit_base_patch16_224"


def best(works: dict[str, Callable[[], object]], repeats: int, now: Callable[[], float]) -> dict[str, float]:
    """The least seconds of each, measured in turn after a first unmeasured one."""
    found = dict.fromkeys(works, float("inf"))
    for repeat in range(repeats + 1):
        for name, work in works.items():
            begun = now()
            work()
            if repeat:
                found[name] = min(found[name], now() - begun)
    return found


def stored(name: str) -> tuple[np.ndarray, np.ndarray]:
    """Bytes of random images and their labels."""
    setting, rng = SETTINGS[name], np.random.default_rng(0)
    shape = (BATCHES * setting.batch_size, setting.pixels, setting.pixels, 3)
    return rng.integers(0, 256, shape, dtype=np.uint8), rng.integers(0, NUM_CLASSES, shape[0])


def random_mask(model: nn.Module, share_removed: float = 0.7) -> Mask:
    """A random mask of a network."""
    rng = np.random.default_rng(0)
    shapes = {name: tuple(model.get_parameter(name).shape) for name in prunable_parameters(model)}
    return Mask(
        {name: rng.random(shape, dtype=np.float32) >= share_removed for name, shape in shapes.items()}
    )


def features_ratio(name: str, repeats: int, now: Callable[[], float]) -> float:
    """Seconds of bare forward passes over seconds of `extract_features`."""
    model, pixels, size = Problem.of(name).model, stored(name)[0], SETTINGS[name].batch_size
    model.to(memory_format=torch.channels_last)
    ready = [to_batch(pixels[i : i + size], PREPROCESSING, DEVICE) for i in range(0, len(pixels), size)]

    @torch.inference_mode()
    def bare() -> None:
        for batch in ready:
            model(batch)

    def ours() -> None:
        extract_features(model, pixels, PREPROCESSING, batch_size=size)

    seconds = best({"bare": bare, "ours": ours}, repeats, now)
    return seconds["bare"] / seconds["ours"]


def finetuning_ratio(name: str, repeats: int, now: Callable[[], float]) -> float:
    """Seconds of plain dense epochs over seconds of ours with a mask."""
    problem, (pixels, labels), size = Problem.of(name), stored(name), SETTINGS[name].batch_size
    model = problem.model.to(memory_format=torch.channels_last)
    settings = FinetuneSettings(epochs=EPOCHS, batch_size=size, learning_rate=1e-9, schedule="constant")
    head = problem.head_weight, problem.head_bias
    run = TrainingRun(
        Backbone(model, PREPROCESSING, (), name, {}),
        RidgeHead(*(tensor.double().cpu().numpy() for tensor in head)),
        pixels,
        labels,
        settings,
        seed=0,
        mask=random_mask(model),
        precision="bfloat16",
    )

    def plain() -> None:
        optimizer = torch.optim.SGD(model.parameters(), lr=1e-9, momentum=0.9, weight_decay=1e-4)
        for start in [*range(0, len(pixels), size)] * EPOCHS:
            batch = to_batch(pixels[start : start + size], PREPROCESSING, DEVICE)
            with torch.autocast(DEVICE.type, dtype=torch.bfloat16, enabled=DEVICE.type == "cuda"):
                features = model(batch)
            logits = features.float() @ head[0].T + head[1]
            target = nn.functional.one_hot(torch.from_numpy(labels[start : start + size]), NUM_CLASSES).to(
                DEVICE
            )
            optimizer.zero_grad()
            (0.5 * (logits - target).square().sum() / len(batch)).backward()
            optimizer.step()

    def ours() -> None:
        finetune(run)

    seconds = best({"plain": plain, "ours": ours}, repeats, now)
    return seconds["plain"] / seconds["ours"]


def mask_of_large_network(repeats: int, now: Callable[[], float]) -> tuple[float, float, int]:
    """Seconds to put a mask on, bytes on the disk over bits / 8, and the number of weights."""
    from obtransfer.models.build import build

    model = build(LARGE).to(DEVICE)
    mask = random_mask(model)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "mask.safetensors"
        write_tensors(path, mask.tensors(), kind="mask", metadata={})
        size = path.stat().st_size
    seconds = best({"apply": lambda: apply_mask(model, mask)}, repeats, now)
    return seconds["apply"], size / (mask.num_weights / 8), mask.num_weights


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument(
        "--networks", nargs="+", default=list(SETTINGS), choices=list(SETTINGS), help="default: all"
    )
    parser.add_argument("--repeats", type=int, default=5, help="measured times; the best counts (default: 5)")
    parser.add_argument("--threads", type=int, help="threads of torch (default: all)")
    parser.add_argument("--clock", choices=["wall", "cpu"], default="wall", help="default: wall")
    options = parser.parse_args()
    if options.threads:
        torch.set_num_threads(options.threads)
    now = clock(options.clock)
    rows = []
    for name in options.networks:
        print(f"{name} ...", file=sys.stderr, flush=True)
        features = features_ratio(name, options.repeats, now)
        rows.append([name, f"{features:.3f}", f"{finetuning_ratio(name, options.repeats, now):.3f}"])
    print(markdown(["network", "features / bare forward", "fine-tuning / plain dense loop"], rows))
    print(f"{LARGE} ...", file=sys.stderr, flush=True)
    seconds, share, count = mask_of_large_network(options.repeats, now)
    print(
        f"\nA mask of {LARGE} ({count / 1e6:.1f} M weights): put on in {seconds:.3f} s, {share:.4f} bytes per 8 weights on the disk"
    )


if __name__ == "__main__":
    main()
