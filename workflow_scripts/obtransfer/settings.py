"""Every setting of config.yaml: its type, bounds, default and meaning, declared once.

`obtransfer.config.load` checks a configuration against these classes and returns a complete `Configuration`; nothing
below it has defaults of its own. docs/configuration.md is generated from this module. A setting that belongs to one
criterion, estimator or structure is declared in the file of that extension (`obtransfer.registry`) and joins these keys.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from annotated_types import Ge, Gt, Le, Len, Lt, Predicate, doc


def _matching(pattern: str) -> Predicate:
    return Predicate(lambda text: re.fullmatch(pattern, text) is not None)


Name = Annotated[
    str, _matching("[a-z][a-z0-9_]*"), doc("lower-case letters, digits and _, starting with a letter")
]
Positive = Annotated[int, Ge(1)]
Scale = Annotated[float, Gt(0)]
Count = Annotated[int, Ge(1), doc("number of images of each class")]
CountOrRest = Annotated[
    Positive | Literal["rest"], doc("number of images of each class; rest: all that remain")
]
Sparsity = Annotated[
    float,
    Gt(0),
    Lt(1),
    doc("fraction of the prunable weights to remove; the dense model, 0, is always included"),
]
Interpolation = Literal["bilinear", "bicubic", "nearest", "lanczos"]
BatchNorm = Literal["keep", "recalibrate"]
Options = Mapping[str, Any]
"""Values of the settings that a criterion, an estimator or a structure declares in its own file."""


@dataclass(frozen=True, kw_only=True)
class ImagesPerClass:
    """Numbers of images of each class in the four disjoint splits."""

    train: Annotated[CountOrRest, doc("images for fitting heads and for fine-tuning")]
    calibration: Annotated[Count, doc("images for curvature and BatchNorm recalibration")]
    validation: Annotated[Count, doc("images for choices, such as that of the damping")]
    test: Annotated[CountOrRest, doc("images for measuring accuracy")]


@dataclass(frozen=True, kw_only=True)
class DataSettings:
    """How images are chosen and read."""

    seed: Annotated[int, Ge(0), doc("seed for choosing images and assigning them to splits")]
    images_per_class: ImagesPerClass
    max_corrupt: Annotated[
        float, Ge(0), Le(1), doc("largest share of a task's images that may be undecodable")
    ] = 0.01
    background: Annotated[Literal["white", "black"], doc("colour behind transparent pixels")] = "white"


@dataclass(frozen=True, kw_only=True)
class KeysByOrder:
    """Names by the order of the tensors."""

    by: Annotated[
        Literal["order"], doc("the architecture's names in its order; all shapes must agree in this order")
    ]


@dataclass(frozen=True, kw_only=True)
class BackboneEntry:
    """Pre-trained weights of your own. Preprocessing that is left out is timm's for the architecture."""

    format: Annotated[str, doc("format of the file: local, timm_hub, torchvision, mocov2, mocov3 or dino")]
    address: Annotated[str, Len(1), doc("path or URL of the file, or a name that the format resolves")]
    architecture: (
        Annotated[str, Len(1), doc("timm's name of the architecture; default: NAME up to the point")] | None
    ) = None
    sha256: (
        Annotated[
            str, _matching("[0-9a-f]{64}"), doc("SHA-256 of the file: 64 lower-case hexadecimal digits")
        ]
        | None
    ) = None
    weights_entry: (
        Annotated[
            str,
            Len(1),
            doc(
                "entry of the file that holds the weights, such as state_dict; default: an average (EMA) first"
            ),
        ]
        | None
    ) = None
    strip: (
        Annotated[str, Len(1), doc("beginning of the names in the file; tensors without it are left out")]
        | None
    ) = None
    key_map: (
        Annotated[
            tuple[Annotated[tuple[str, str], doc("a pattern and its replacement")], ...],
            Len(1),
            doc("pairs of a regular expression and its replacement, applied in turn to every name"),
        ]
        | KeysByOrder
        | None
    ) = None
    input_size: Annotated[int, Ge(1), doc("side of the input images in pixels; default: timm's")] | None = (
        None
    )
    crop: (
        Annotated[
            float,
            Gt(0),
            Le(2),
            doc("side of the centre crop over the short side of the resized image; default: timm's"),
        ]
        | None
    ) = None
    interpolation: Annotated[Interpolation, doc("method of resizing; default: timm's")] | None = None
    mean: (
        Annotated[tuple[float, float, float], doc("mean of red, green and blue, in [0, 1]; default: timm's")]
        | None
    ) = None
    std: (
        Annotated[
            tuple[Scale, Scale, Scale], doc("standard deviation of red, green and blue; default: timm's")
        ]
        | None
    ) = None


@dataclass(frozen=True, kw_only=True)
class FetchSettings:
    """How weight files are fetched. No result depends on these keys."""

    mirror: Annotated[str, Len(1), doc("folder or URL prefix that is tried first")] | None = None
    offline: Annotated[bool, doc("whether network connections are forbidden")] = False
    lock: (
        Annotated[str, Len(1), doc("file of checksums; default: resources/weights.lock.yaml of the workflow")]
        | None
    ) = None


@dataclass(frozen=True, kw_only=True)
class DatasetEntry:
    """Where the images of a data set are."""

    kind: Annotated[str, doc("image_folder, imagenet, or a data set of torchvision, such as cifar10")]
    root: Annotated[str, Len(1), doc("folder of the data set, laid out as its kind expects")]
    download: Annotated[bool, doc("whether torchvision may download the data set")] = False


@dataclass(frozen=True, kw_only=True)
class Draw:
    """Classes drawn at random."""

    draw: Annotated[int, Ge(2), doc("number of classes to draw")]
    seed: Annotated[int, Ge(0), doc("seed of the draw; default: data.seed")] | None = None
    part: Annotated[
        int, Ge(0), doc("number of the draw, from 0; draws with the same seed and size share no class")
    ] = 0


Classes = Annotated[
    tuple[Annotated[Annotated[int, Ge(0)] | str, doc("index of a class, or its name in quotes")], ...], Len(2)
]


@dataclass(frozen=True, kw_only=True)
class OwnImagesPerClass:
    """Numbers of images of one task, in place of those under data."""

    train: CountOrRest | None = None
    calibration: Count | None = None
    validation: Count | None = None
    test: CountOrRest | None = None


@dataclass(frozen=True, kw_only=True)
class TaskEntry:
    """A task: some classes of a data set."""

    dataset: Annotated[str, doc("name under datasets")]
    classes: (
        Annotated[
            Classes | Literal["all"] | Draw,
            doc("indices and names of classes, all, or a random draw; default: 10 drawn"),
        ]
        | None
    ) = None
    images_per_class: OwnImagesPerClass = field(default_factory=OwnImagesPerClass)


@dataclass(frozen=True, kw_only=True)
class GridSettings:
    """Every combination of these is computed."""

    backbones: Annotated[tuple[str, ...], Len(1), doc("names of backbones: architecture.pretraining")]
    sources: Annotated[tuple[str, ...], Len(1), doc("tasks on whose images models are pruned and fine-tuned")]
    criteria: Annotated[
        tuple[Name, ...], Len(1), doc("labels under criteria, or names of criteria without required settings")
    ]
    allocations: Annotated[
        tuple[str, ...],
        Len(1),
        doc("how the sparsity is spread over the layers: global, uniform, erk, n_of_4, n_of_8 or n_of_16"),
    ] = ("global",)
    sparsities: Annotated[
        tuple[Sparsity, ...],
        Len(1),
        doc("fractions of the prunable weights to remove; the dense model is always included"),
    ]
    batchnorm: Annotated[
        tuple[BatchNorm, ...],
        Len(1),
        doc("BatchNorm statistics after pruning: those of the dense model, or recalibrated ones"),
    ] = ("keep",)
    seeds: Annotated[
        tuple[Annotated[int, Ge(0)], ...],
        Len(1),
        doc("seeds for calibration images, random draws and fine-tuning"),
    ] = (0,)
    finetune: Annotated[
        tuple[BatchNorm, ...], doc("entries of grid.batchnorm whose models are also fine-tuned")
    ] = ()


@dataclass(frozen=True, kw_only=True)
class Label:
    """One criterion with its settings.

    `options` and `structure_options` hold the settings that the criterion and its structure declare. In the
    configuration, they stand beside the other keys.
    """

    criterion: Annotated[str, doc("name of a criterion")]
    estimator: Annotated[str, doc("name of an estimator, for criteria that read curvature")] | None = None
    options: Options = field(default_factory=dict)
    structure_options: Options = field(default_factory=dict)
    update: (
        Annotated[
            Literal["joint"],
            doc("update the surviving weights to compensate for those removed from their block"),
        ]
        | None
    ) = None
    rounds: Annotated[
        int, Ge(1), Le(1000), doc("number of pruning rounds; each round computes new scores")
    ] = 1
    schedule: Annotated[
        Literal["exponential", "linear", "cubic"], doc("how the sparsity grows over the rounds")
    ] = "exponential"


@dataclass(frozen=True, kw_only=True)
class DampingChoice:
    """How a damping of `chosen` is found, on the source's validation images."""

    candidates: Annotated[tuple[Annotated[float, Gt(0)], ...], Len(1), doc("values of damping to try")]
    sparsities: Annotated[
        tuple[Sparsity, ...], Len(1), doc("sparsities over which validation accuracies are averaged")
    ]


@dataclass(frozen=True, kw_only=True)
class HeadSettings:
    """Ridge classifiers on the dense backbone's features."""

    alpha: Annotated[float, Gt(0), doc("ridge penalty")] = 1.0
    fit_split: Annotated[
        Literal["train", "test"],
        doc("split on which heads are fitted; test is the protocol of the paper's authors"),
    ] = "train"


@dataclass(frozen=True, kw_only=True)
class CurvatureSettings:
    """Statistics of the source's calibration images.

    `options` holds the settings that estimators declare. In the configuration, they stand beside the other keys.
    """

    num_examples: Annotated[
        int, Ge(1), doc("number of calibration images, drawn evenly from all classes")
    ] = 200
    batch_size: Annotated[int, Ge(1), doc("images per forward pass; for speed and memory only")] = 50
    shares: Annotated[
        int, Ge(1), Le(1000), doc("number of jobs that share the images; their results are merged")
    ] = 1
    memory_gb: (
        Annotated[
            float,
            Gt(0),
            doc(
                "limit of one statistic; above it, layers are computed in groups; default: half of the free memory"
            ),
        ]
        | None
    ) = None
    options: Options = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class FinetuneSettings:
    """SGD on the squared loss ½ Σ_k (f_k − onehot_k)², averaged over the batch, with a fixed mask and head.

    The paper's authors average over the K classes and omit the ½, so their loss is 2/K times this one. Plain SGD takes
    their steps with 2/K times their learning rate and K/2 times their weight decay: for K = 10, 5e-5 and 1e-4 become
    1e-5 and 5e-4.
    """

    epochs: Annotated[int, Ge(1), doc("number of passes over the train split")]
    batch_size: Annotated[int, Ge(1), doc("images per step; the last step of an epoch takes the rest")] = 32
    learning_rate: Annotated[float, Gt(0), doc("initial learning rate, for the loss ½ Σ (output − one-hot)²")]
    momentum: Annotated[float, Ge(0), Lt(1), doc("μ in v ← μ v + g, w ← w − η v, as in torch")] = 0.9
    weight_decay: Annotated[
        float, Ge(0), doc("L2 penalty on all trained parameters, including norms and biases")
    ] = 1e-4
    schedule: Annotated[
        Literal["multistep", "cosine", "constant"],
        doc("multistep multiplies the learning rate by gamma at each milestone; cosine lowers it to 0"),
    ] = "cosine"
    milestones: Annotated[
        tuple[Positive, ...], doc("epochs, counted from 0, at whose start multistep multiplies by gamma")
    ] = ()
    gamma: Annotated[float, Gt(0), Le(1), doc("factor of multistep")] = 0.1
    batchnorm: Annotated[
        Literal["frozen", "trained"],
        doc("whether BatchNorm normalises with its running statistics or with those of the batch"),
    ] = "frozen"
    augmentation: Annotated[
        Literal["none", "flip", "crop_flip"],
        doc("random left-right flips, or random resized crops and flips"),
    ] = "none"


@dataclass(frozen=True, kw_only=True)
class EvaluateSettings:
    """Forward passes that measure accuracy."""

    batch_size: Annotated[int, Ge(1), doc("images per forward pass; for speed and memory only")] = 250


Precision = Literal["float32", "bfloat16"]


@dataclass(frozen=True, kw_only=True)
class ExportSettings:
    """Models to export: points of the grid that match all these lists. A list that is left out matches everything."""

    backbones: Annotated[tuple[str, ...], Len(1), doc("entries of grid.backbones")] | None = None
    sources: Annotated[tuple[str, ...], Len(1), doc("entries of grid.sources")] | None = None
    criteria: (
        Annotated[tuple[str, ...], Len(1), doc("entries of grid.criteria, or dense for the dense model")]
        | None
    ) = None
    allocations: Annotated[tuple[str, ...], Len(1), doc("entries of grid.allocations")] | None = None
    sparsities: Annotated[tuple[float, ...], Len(1), doc("entries of grid.sparsities")] | None = None
    batchnorm: Annotated[tuple[BatchNorm, ...], Len(1), doc("entries of grid.batchnorm")] | None = None
    seeds: Annotated[tuple[int, ...], Len(1), doc("entries of grid.seeds")] | None = None
    stages: Annotated[
        tuple[Literal["pruned", "finetuned"], ...], Len(1), doc("before fine-tuning, after it, or both")
    ] = ("pruned", "finetuned")
    forms: Annotated[
        tuple[Literal["features", "zero_shot", "probe"], ...],
        Len(1),
        doc("what models return: features, or the source's logits from the frozen or from a re-fitted head"),
    ] = ("features",)


@dataclass(frozen=True, kw_only=True)
class Configuration:
    """The checked, complete configuration."""

    results: Annotated[str, Len(1), doc("folder for everything that the workflow makes")] = "results"
    precision: Annotated[
        Precision,
        doc("number format of evaluation and fine-tuning on a GPU; a CPU always computes in float32"),
    ] = "float32"
    data: DataSettings
    backbones: Annotated[
        Mapping[str, BackboneEntry], doc("your own weights, by name: architecture.pretraining")
    ] = field(default_factory=dict)
    weights: FetchSettings = field(default_factory=FetchSettings)
    datasets: Annotated[
        Mapping[Name, DatasetEntry], doc("data sets, by name, and where their images are")
    ] = field(default_factory=dict)
    tasks: Annotated[Mapping[Name, TaskEntry], doc("tasks, by name: some classes of a data set")] = field(
        default_factory=dict
    )
    suites: Annotated[
        Mapping[Name, Annotated[tuple[str, ...], Len(1), doc("names of tasks")]],
        Len(1),
        doc("lists of tasks, by name; each is evaluated in one pass over a model"),
    ]
    grid: GridSettings
    criteria: Annotated[Mapping[Name, Label], doc("criteria with their settings, by label")] = field(
        default_factory=dict
    )
    damping_choice: DampingChoice | None = None
    heads: HeadSettings = field(default_factory=HeadSettings)
    curvature: CurvatureSettings = field(default_factory=CurvatureSettings)
    finetune: FinetuneSettings
    evaluate: EvaluateSettings = field(default_factory=EvaluateSettings)
    export: ExportSettings | None = None
