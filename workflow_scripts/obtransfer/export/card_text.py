"""The card of an exported model for people, in Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from obtransfer.artifacts import atomic_path
from obtransfer.export.card import Card

_PIXELS = (
    "Images are RGB, {size} × {size} pixels{fit}, divided by 255, minus mean {mean}, divided by std {std}."
)


def write_text(card: Card, path: Path) -> None:
    """The whole card."""
    parts = [_title, _loading, _making, _accuracies, _cost, _checks, _semi_structured, _layers, _origin]
    text = "\n".join(line for part in parts for line in [*part(card), ""])
    with atomic_path(path) as partial:
        partial.write_text(text.rstrip() + "\n", encoding="utf-8")


def _title(card: Card) -> Iterable[str]:
    model, made = card["model"], card["how"]
    yield f"# {model['backbone']}, {made['state']}"
    yield ""
    kind = f"logits of {model['num_classes']} classes" if model["num_classes"] else "features"
    what = "fine-tuned" if made["finetuned"] else "not fine-tuned"
    yield (
        f"{card['sparsity']['of_prunable']:.1%} of the weights of convolutions and linear layers are removed. The model is "
        f"{what}. It turns images into {kind}."
    )


def _loading(card: Card) -> Iterable[str]:
    model = card["model"]
    yield "## Use it"
    yield ""
    yield "```python"
    if model["in_timm"]:
        yield "import timm"
        yield f'model = timm.create_model("{model["architecture"]}", pretrained=False, num_classes={model["num_classes"]},'
        yield '                          checkpoint_path="model.safetensors").eval()'
    else:
        yield "from obtransfer.export.load import load_exported  # with workflow_scripts in PYTHONPATH"
        yield 'model, card = load_exported(".")'
    yield "```"
    yield ""
    fit = f" ({model['interpolation']}, centre crop {model['crop']})" if "crop" in model else ""
    yield _PIXELS.format(
        size=model["input_size"], fit=fit, mean=_list(model["mean"]), std=_list(model["std"])
    )
    if model["classes"]:
        yield f"Classes, in order: {', '.join(map(str, model['classes']))}."
    yield (
        "`model.onnx` reads the same numbers (`images`, float32, any batch size) and returns the same (`outputs`). "
        "`mask.safetensors` has one bit for every weight, 1 = kept."
    )


def _making(card: Card) -> Iterable[str]:
    made, checkpoint = card["how"], card["upstream"]["checkpoint"]
    yield "## How it was made"
    yield ""
    tuning = f"{made['tuning']} ({_settings(made['settings'])})" if made["finetuned"] else "none"
    rows = [("pre-trained weights", _settings(checkpoint))] if checkpoint else []
    rows += [
        ("state", made["state"]),
        ("criterion", _settings(made["criterion"]) or "none"),
        ("BatchNorm", made["batchnorm"]),
        ("fine-tuning", tuning),
    ]
    if made["updated"]:
        rows.append(("surviving weights", "updated to compensate for those removed"))
    yield from _table(("", ""), rows)


def _accuracies(card: Card) -> Iterable[str]:
    yield "## Accuracies"
    yield ""
    yield (
        "On test images. *zero_shot* is the frozen head of the dense model. *probe* is a head fitted anew on this model's "
        "features of the train images."
    )
    if any(row["fit_split"] == "test" for row in card["accuracies"]):
        yield ""
        yield (
            "**The frozen heads were fitted on the test images themselves (`heads.fit_split: test`). Their accuracies do not "
            "estimate those on new images.**"
        )
    yield ""
    columns = ("dense_zero_shot", "zero_shot", "dense_probe", "probe")
    yield from _table(
        ("task", "images", "dense, zero_shot", "this, zero_shot", "dense, probe", "this, probe"),
        [
            (
                row["task"],
                row["num_test"],
                *("" if value is None else f"{value:.3f}" for value in map(row.get, columns)),
            )
            for row in card["accuracies"]
        ],
    )


def _cost(card: Card) -> Iterable[str]:
    flops, size, sparsity = card["flops"], card["bytes"], card["sparsity"]
    yield "## Size and cost"
    yield ""
    yield from _table(
        ("", "dense", "pruned", "ratio"),
        [
            ("FLOPs of one image", *_pair(flops["dense"], flops["sparse"])),
            ("bytes: bit mask + kept values", *_pair(size["dense"], size["mask_and_values"])),
            ("bytes: the same, through zlib", *_pair(size["dense"], size["compressed"])),
        ],
    )
    yield ""
    yield (
        f"{sparsity['num_removed']:,} of {sparsity['num_weights']:,} prunable weights are removed "
        f"({sparsity['of_all']:.1%} of all numbers in the file). Every product in convolutions, linear layers and attention "
        f"counts as two FLOPs. Attention has {flops['attention']:,}, which no mask reduces. The pruned count holds for a "
        "runtime that skips zeros. `model.safetensors` and `model.onnx` store the zeros, so they have the dense size and "
        "speed."
    )


def _checks(card: Card) -> Iterable[str]:
    onnx, accuracy = card["checks"]["onnx"], card["checks"]["accuracy"]
    yield "## Checked"
    yield ""
    yield (
        f"* ONNX against PyTorch on {onnx['images']} test images of *{accuracy['task']}*: largest difference "
        f"{onnx['max_abs_difference']:.2g} (allowed {onnx['tolerance']:.2g}, largest output "
        f"{onnx['max_abs_output']:.3g}), same class in {onnx['same_class']} of {onnx['images']}."
    )
    evaluated = accuracy["evaluated"]
    compared = "not evaluated on this task" if evaluated is None else f"{evaluated:.4f} in its evaluation"
    yield (
        f"* Accuracy of these weights on {accuracy['images']} test images of *{accuracy['task']}* ({accuracy['head']}): "
        f"{accuracy['measured']:.4f}, {compared}."
    )
    yield "* Every weight that the mask removes is zero in the file."


def _semi_structured(card: Card) -> Iterable[str]:
    found = card["semi_structured"]
    if not found:
        return
    yield "## 2:4"
    yield ""
    yield (
        f"{len(found['layers'])} of {len(card['sparsity']['layers'])} layers keep at most 2 of every 4 inputs; PyTorch can "
        f"convert {len(found['convertible'])} of them. {found['statement']}"
    )
    if found["without"]:
        yield ""
        yield "The other layers have a number of inputs that is no multiple of 4."
    if found["convertible"]:
        yield ""
        yield "On a GPU of compute capability 8.0 or more, in float16 or bfloat16, with `card.json` as `card`:"
        yield ""
        yield "```python"
        yield "from torch.sparse import to_sparse_semi_structured"
        yield "model = model.half().cuda()"
        yield 'for name in card["semi_structured"]["convertible"]:'
        yield '    layer = model.get_submodule(name.removesuffix(".weight"))'
        yield "    layer.weight = torch.nn.Parameter(to_sparse_semi_structured(layer.weight), requires_grad=False)"
        yield "```"


def _layers(card: Card) -> Iterable[str]:
    yield "## Layers"
    yield ""
    yield from _table(
        ("layer", "shape", "removed", "sparsity", "FLOPs dense", "FLOPs pruned"),
        [
            (
                f"`{row['layer']}`",
                " × ".join(map(str, row["shape"])),
                f"{row['num_removed']:,}",
                f"{row['sparsity']:.3f}",
                f"{row['flops_dense']:,}",
                f"{row['flops_sparse']:,}",
            )
            for row in card["sparsity"]["layers"]
        ],
    )


def _origin(card: Card) -> Iterable[str]:
    made = card["made"]
    yield "## Provenance"
    yield ""
    rows = [("commit", made["git_commit"] or "unknown")]
    rows += [(name, number) for name, number in {**made["versions"], **card["packages"]}.items()]
    rows += [(f"`{path}`", digest[:16]) for path, digest in made["inputs"].items()]
    yield from _table(("made from", ""), rows)


def _pair(dense: int, pruned: int) -> tuple[str, str, str]:
    return f"{dense:,}", f"{pruned:,}", f"{pruned / dense:.3f}"


def _settings(settings: Mapping[str, object]) -> str:
    return ", ".join(f"{key} {value}" for key, value in settings.items())


def _list(numbers: Sequence[float]) -> str:
    return "[" + ", ".join(f"{number:g}" for number in numbers) + "]"


def _table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> Iterable[str]:
    yield f"| {' | '.join(head)} |"
    yield "|" + "---|" * len(head)
    for row in rows:
        yield f"| {' | '.join(str(cell).replace('|', chr(92) + '|') for cell in row)} |"
