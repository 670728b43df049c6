"""Each of torchvision's data sets, in its own layout on disk: the right images under the right labels and splits."""

from __future__ import annotations

import gzip
import hashlib
import http.server
import json
import pickle
import struct
import threading
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from download_dataset import download_dataset
from obtransfer.artifacts import read_table
from obtransfer.data import on_disk
from obtransfer.data.decode import Decoding
from obtransfer.data.splits import SPLITS
from obtransfer.data.view import apply_view, parse_view
from obtransfer.errors import ObtransferError
from obtransfer.registry import DATASETS
from obtransfer.settings import DatasetEntry
from pictures import photograph
from PIL import Image

pytestmark = pytest.mark.slow  # importing torchvision

VIEW = "32_crop1000_bilinear"
COUNTS = {"train": 1, "calibration": 1, "validation": 1, "test": 1}
# Per class: images to train on (in whatever parts the data set has), and test images.
TRAIN, TEST = 3, 2
Written = dict[tuple[str, int], list[np.ndarray]]
Make = Callable[[Path, pytest.MonkeyPatch], Written]


class Writer:
    """Makes different images, saves them and remembers what was saved."""

    def __init__(self, size: tuple[int, int] = (48, 40)) -> None:
        self.size, self.number, self.written = size, 0, dict[tuple[str, int], list[np.ndarray]]()

    def image(self, part: str, label: int, mode: str = "RGB") -> Image.Image:
        self.number += 1
        made = photograph(self.number, size=self.size).convert(mode)
        self.written.setdefault((part, label), []).append(np.asarray(made))
        return made

    def file(self, path: Path, part: str, label: int) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self.image(part, label).save(path)
        self.written[part, label][-1] = np.asarray(Image.open(path))


def rounds(parts: tuple[tuple[str, int], ...], classes: int) -> Iterator[tuple[str, int, int]]:
    for part, count in parts:
        for label in range(classes):
            for number in range(count):
                yield part, label, number


PARTS = (("train", TRAIN), ("test", TEST))


def md5(path: Path) -> str:
    return hashlib.md5(path.read_bytes()).hexdigest()


def cifar(
    root: Path, monkeypatch: pytest.MonkeyPatch, *, classes: int, name: str, folder: str, labels: str
) -> Written:
    from torchvision import datasets

    writer = Writer((32, 32))
    data: dict[str, Any] = {part: ([], []) for part, _ in PARTS}
    for part, label, _ in rounds(PARTS, classes):
        pixels = np.asarray(writer.image(part, label))
        data[part][0].append(pixels.transpose(2, 0, 1).reshape(-1))
        data[part][1].append(label)
    kind = getattr(datasets, name)
    (root / folder).mkdir()
    for part, listed in (("train", kind.train_list), ("test", kind.test_list)):
        files = np.array_split(np.arange(len(data[part][1])), len(listed))
        sums = []
        for (file, _), rows in zip(listed, files, strict=True):
            content = {
                "data": np.stack([data[part][0][row] for row in rows]),
                labels: [data[part][1][row] for row in rows],
            }
            (root / folder / file).write_bytes(pickle.dumps(content, protocol=2))
            sums.append([file, md5(root / folder / file)])
        monkeypatch.setattr(kind, f"{part}_list", sums)
    meta = root / folder / kind.meta["filename"]
    meta.write_bytes(
        pickle.dumps({kind.meta["key"]: [f"class {label}" for label in range(classes)]}, protocol=2)
    )
    monkeypatch.setattr(kind, "meta", kind.meta | {"md5": md5(meta)})
    return writer.written


def idx(array: np.ndarray) -> bytes:
    return (
        struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape) + array.astype(np.uint8).tobytes()
    )


def mnist_files() -> tuple[dict[str, bytes], Written]:
    writer, files = Writer((28, 28)), {}
    for part, short in (("train", "train"), ("test", "t10k")):
        wanted = [entry for entry in rounds(PARTS, 10) if entry[0] == part]
        images = np.stack([np.asarray(writer.image(part, label, "L")) for _, label, _ in wanted])
        files[f"{short}-images-idx3-ubyte"] = idx(images)
        files[f"{short}-labels-idx1-ubyte"] = idx(np.array([label for _, label, _ in wanted]))
    return files, writer.written


def mnist(root: Path, monkeypatch: pytest.MonkeyPatch) -> Written:
    files, written = mnist_files()
    (root / "MNIST" / "raw").mkdir(parents=True)
    for name, content in files.items():
        (root / "MNIST" / "raw" / name).write_bytes(content)
    return written


def svhn(root: Path, monkeypatch: pytest.MonkeyPatch) -> Written:
    from scipy.io import savemat
    from torchvision.datasets import SVHN

    writer, lists = Writer((32, 32)), dict(SVHN.split_list)
    for part, _ in PARTS:
        wanted = [entry for entry in rounds(PARTS, 10) if entry[0] == part]
        pixels = np.stack([np.asarray(writer.image(part, label)) for _, label, _ in wanted], axis=-1)
        digits = np.array([[label or 10] for _, label, _ in wanted])  # 0 is written 10
        url, file, _ = lists[part]
        savemat(root / file, {"X": pixels, "y": digits})
        lists[part] = [url, file, md5(root / file)]
    monkeypatch.setattr(SVHN, "split_list", lists)
    return writer.written


def dtd(root: Path, monkeypatch: pytest.MonkeyPatch) -> Written:
    writer, folder = Writer(), root / "dtd" / "dtd"
    lines: dict[str, list[str]] = {"train": [], "val": [], "test": []}
    for part, label, number in rounds(PARTS, 3):
        name = f"{'abc'[label]}_texture/{'abc'[label]}_{part}_{number}.jpg"
        writer.file(folder / "images" / name, part, label)
        lines["val" if (part, number) == ("train", 0) else part].append(name)
    (folder / "labels").mkdir()
    for part, names in lines.items():
        (folder / "labels" / f"{part}1.txt").write_text("\n".join(names) + "\n")
    return writer.written


def eurosat(root: Path, monkeypatch: pytest.MonkeyPatch) -> Written:
    writer = Writer((64, 64))
    for _, label, number in rounds((("train", TRAIN + 1),), 3):
        name = ("AnnualCrop", "Forest", "River")[label]
        writer.file(root / "eurosat" / "2750" / name / f"{name}_{number}.jpg", "train", label)
    return writer.written


def gtsrb(root: Path, monkeypatch: pytest.MonkeyPatch) -> Written:
    writer, folder = Writer(), root / "gtsrb"
    lines = ["Filename;Width;Height;Roi.X1;Roi.Y1;Roi.X2;Roi.Y2;ClassId"]
    for part, label, number in rounds(PARTS, 3):
        if part == "train":
            writer.file(folder / f"GTSRB/Training/{label:05d}/00000_{number:05d}.ppm", part, label)
        else:
            name = f"{len(lines) - 1:05d}.ppm"
            writer.file(folder / "GTSRB/Final_Test/Images" / name, part, label)
            lines.append(f"{name};48;40;5;5;43;35;{label}")
    (folder / "GT-final_test.csv").write_text("\n".join(lines) + "\n")
    return writer.written


def food101(root: Path, monkeypatch: pytest.MonkeyPatch) -> Written:
    writer, folder = Writer(), root / "food-101"
    listed: dict[str, dict[str, list[str]]] = {"train": {}, "test": {}}
    for part, label, _ in rounds(PARTS, 3):
        name = ("apple_pie", "beignets", "churros")[label]
        listed[part].setdefault(name, []).append(f"{name}/{writer.number + 100}")
        writer.file(folder / "images" / name / f"{writer.number + 100}.jpg", part, label)
    (folder / "meta").mkdir()
    for part, classes in listed.items():
        (folder / "meta" / f"{part}.json").write_text(json.dumps(classes))
    return writer.written


def pets(root: Path, monkeypatch: pytest.MonkeyPatch) -> Written:
    writer, folder = Writer(), root / "oxford-iiit-pet"
    lines: dict[str, list[str]] = {"train": [], "test": []}
    for part, label, _ in rounds(PARTS, 3):
        name = f"{('Abyssinian', 'american_bulldog', 'Bengal')[label]}_{writer.number + 1}"
        lines[part].append(f"{name} {label + 1} {1 + (label == 1)} 1")
        writer.file(folder / "images" / f"{name}.jpg", part, label)
    (folder / "annotations").mkdir()
    (folder / "annotations" / "trainval.txt").write_text("\n".join(lines["train"]) + "\n")
    (folder / "annotations" / "test.txt").write_text("\n".join(lines["test"]) + "\n")
    return writer.written


def aircraft(root: Path, monkeypatch: pytest.MonkeyPatch) -> Written:
    writer, folder = Writer(), root / "fgvc-aircraft-2013b" / "data"
    names, lines = ("707-320", "727-200", "A300B4"), dict[str, list[str]](train=[], test=[])
    for part, label, _ in rounds(PARTS, 3):
        lines[part].append(f"{writer.number + 34309:07d} {names[label]}")
        writer.file(folder / "images" / f"{writer.number + 34309:07d}.jpg", part, label)
    (folder / "variants.txt").write_text("\n".join(names) + "\n")
    (folder / "images_variant_trainval.txt").write_text("\n".join(lines["train"]) + "\n")
    (folder / "images_variant_test.txt").write_text("\n".join(lines["test"]) + "\n")
    return writer.written


def flowers102(root: Path, monkeypatch: pytest.MonkeyPatch) -> Written:
    from scipy.io import savemat
    from torchvision.datasets import Flowers102

    writer, folder = Writer(), root / "flowers-102"
    labels, ids = [], dict[str, list[int]](trnid=[], valid=[], tstid=[])
    for part, label, number in rounds(PARTS, 3):
        writer.file(folder / "jpg" / f"image_{writer.number + 1:05d}.jpg", part, label)
        labels.append(label + 1)
        ids["tstid" if part == "test" else "valid" if number == 0 else "trnid"].append(writer.number)
    savemat(folder / "imagelabels.mat", {"labels": np.array(labels)})
    savemat(folder / "setid.mat", {name: np.array(numbers) for name, numbers in ids.items()})
    sums = {
        key: (file, md5(folder / file)) for key, (file, _) in Flowers102._file_dict.items() if key != "image"
    }
    monkeypatch.setattr(Flowers102, "_file_dict", Flowers102._file_dict | sums)
    return writer.written


def sun397(root: Path, monkeypatch: pytest.MonkeyPatch) -> Written:
    writer, folder = Writer(), root / "SUN397"
    names = ("a/abbey", "a/apartment_building/outdoor", "b/bow_window/indoor")
    for _, label, _ in rounds((("train", TRAIN + 1),), 3):
        writer.file(folder / names[label] / f"sun_a{writer.number:08x}.jpg", "train", label)
    (folder / "ClassName.txt").write_text("".join(f"/{name}\n" for name in names))
    return writer.written


MAKERS: dict[str, Make] = {
    "cifar10": partial(cifar, classes=10, name="CIFAR10", folder="cifar-10-batches-py", labels="labels"),
    "cifar100": partial(cifar, classes=100, name="CIFAR100", folder="cifar-100-python", labels="fine_labels"),
    "mnist": mnist,
    "svhn": svhn,
    "dtd": dtd,
    "eurosat": eurosat,
    "gtsrb": gtsrb,
    "food101": food101,
    "pets": pets,
    "aircraft": aircraft,
    "flowers102": flowers102,
    "sun397": sun397,
}


def load(kind: str, root: Path, **entry: Any) -> Any:
    dataset, how = DatasetEntry(kind=kind, root=str(root), **entry), Decoding(0.01, 2, root)
    return on_disk.load(kind, dataset, [0, 2], how, seed=0, images_per_class=COUNTS, view=VIEW)


def test_every_kind_that_torchvision_reads_is_made_here() -> None:
    assert {kind for kind in DATASETS if DATASETS.module(kind).endswith("torchvision_sets")} == MAKERS.keys()


@pytest.mark.parametrize("kind", MAKERS)
def test_images_have_the_right_labels_and_splits(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = MAKERS[kind](tmp_path, monkeypatch)
    images = load(kind, tmp_path)
    official = any(part == "test" for part, _ in written)
    known = {
        key: {apply_view(Image.fromarray(image), parse_view(VIEW)).tobytes() for image in made}
        for key, made in written.items()
    }
    assert len(images.pixels) == 2 * 4 and len({image.tobytes() for image in images.pixels}) == 8
    for pixels, label, split in zip(images.pixels, images.labels, images.split, strict=True):
        part = "test" if official and SPLITS[split] == "test" else "train"
        assert pixels.tobytes() in known[part, (0, 2)[label]]
    train, test = DATASETS[kind].pools(tmp_path, [1])
    assert len(train.labels) == TRAIN + (not official) and (test is None) == (not official)
    assert test is None or len(test.labels) == TEST


def test_numbers_of_classes_are_those_of_the_data_sets(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from torchvision.datasets import Flowers102

    assert DATASETS["flowers102"].num_classes == len(Flowers102.classes)
    for kind in ("cifar10", "cifar100", "mnist", "svhn", "gtsrb"):
        (tmp_path / kind).mkdir()
        MAKERS[kind](tmp_path / kind, monkeypatch)
        assert len(DATASETS[kind].classes(tmp_path / kind)) == DATASETS[kind].num_classes


@pytest.mark.parametrize("kind", MAKERS)
def test_a_data_set_that_is_not_there_is_told_with_what_to_do(kind: str, tmp_path: Path) -> None:
    with pytest.raises(ObtransferError) as caught:
        load(kind, tmp_path)
    name = DATASETS[kind].name
    assert f"task {kind}: torchvision's {name} does not find its whole data set in {tmp_path}" in str(
        caught.value
    )
    assert "download: true" in str(caught.value)


def test_files_with_another_checksum_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    MAKERS["cifar10"](tmp_path, monkeypatch)
    batch = tmp_path / "cifar-10-batches-py" / "data_batch_2"
    batch.write_bytes(batch.read_bytes()[:-1] + b"x")
    with pytest.raises(ObtransferError, match="not found or corrupted"):
        load("cifar10", tmp_path)


@pytest.fixture
def served(tmp_path: Path) -> Iterator[tuple[Path, str]]:
    """A folder, and the address at which a local server offers it."""
    folder = tmp_path / "served"
    folder.mkdir()

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield folder, f"http://127.0.0.1:{server.server_port}/"
    server.shutdown()
    server.server_close()


def test_download_fetches_what_is_missing_once(
    served: tuple[Path, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from torchvision.datasets import MNIST

    folder, address = served
    files, _ = mnist_files()
    for name, content in files.items():
        (folder / f"{name}.gz").write_bytes(gzip.compress(content))
    monkeypatch.setattr(MNIST, "mirrors", [address])
    monkeypatch.setattr(MNIST, "resources", [(f"{name}.gz", md5(folder / f"{name}.gz")) for name in files])
    root = tmp_path / "new" / "root"
    DATASETS["mnist"].fetch(root)
    assert len(load("mnist", root).pixels) == 8
    for path in folder.iterdir():
        path.unlink()
    # Nothing is asked for again; the step says what there is.
    table = tmp_path / "datasets" / "mnist.csv"
    download_dataset(table, dataset="mnist", entry=DatasetEntry(kind="mnist", root=str(root), download=True))
    assert read_table(table, kind="dataset").rows == [
        {"class": str(digit), "train": str(TRAIN), "test": str(TEST)} for digit in range(10)
    ]
    assert str(tmp_path) not in table.read_text()


def test_a_download_that_fails_is_told(
    served: tuple[Path, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from torchvision.datasets import CIFAR10

    folder, address = served
    monkeypatch.setattr(CIFAR10, "url", f"{address}{CIFAR10.filename}")
    with pytest.raises(ObtransferError, match=r"CIFAR10 could not be downloaded into .*404"):
        DATASETS["cifar10"].fetch(tmp_path)
    (folder / CIFAR10.filename).write_bytes(b"wrong bytes")
    with pytest.raises(ObtransferError, match=r"CIFAR10 could not be downloaded into .*corrupted"):
        DATASETS["cifar10"].fetch(tmp_path)
