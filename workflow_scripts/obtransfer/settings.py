"""Every setting of config.yaml: its type, bounds, default and meaning, declared once.

`obtransfer.config.load` checks a configuration against these classes and returns a complete `Configuration`; nothing
further down has a default of its own. docs/configuration.md is made from this module. Settings that belong to one
criterion, estimator or structure are declared there (`obtransfer.registry`) and join the keys listed here.
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
    str, _matching("[a-z][a-z0-9_]*"), doc("small letters, digits and _, beginning with a letter")
]
Positive = Annotated[int, Ge(1)]
Scale = Annotated[float, Gt(0)]
Count = Annotated[int, Ge(1), doc("a number of images")]
CountOrRest = Annotated[Positive | Literal["rest"], doc("a number of images, or rest for all that are left")]
Sparsity = Annotated[
    float,
    Gt(0),
    Lt(1),
    doc("the removed fraction of prunable weights; the dense model, 0, is always in the grid"),
]
Interpolation = Literal["bilinear", "bicubic", "nearest", "lanczos"]
BatchNorm = Literal["keep", "recalibrate"]
Options = Mapping[str, Any]
"""Values of settings that a criterion, an estimator or a structure declares in its own file."""


@dataclass(frozen=True, kw_only=True)
class ImagesPerClass:
    """Images of every class in each of the four disjoint splits."""

    train: Annotated[CountOrRest, doc("fit heads and fine-tune")]
    calibration: Annotated[Count, doc("curvature and BatchNorm recalibration")]
    validation: Annotated[Count, doc("choices, such as a damping")]
    test: Annotated[CountOrRest, doc("accuracies")]


@dataclass(frozen=True, kw_only=True)
class DataSettings:
    """How images are drawn."""

    seed: Annotated[int, Ge(0), doc("chooses the images and assigns them to splits")]
    images_per_class: ImagesPerClass
    max_corrupt: Annotated[
        float, Ge(0), Le(1), doc("the share of a task's images that may be undecodable; more is an error")
    ] = 0.01
    background: Annotated[
        Literal["white", "black"], doc("the colour behind transparent pixels of images")
    ] = "white"


@dataclass(frozen=True, kw_only=True)
class BackboneEntry:
    """Pre-trained weights that have no name yet. Pixels that are left out are timm's of the architecture."""

    format: Annotated[str, doc("of the file: local, timm_hub, torchvision, mocov2, mocov3 or dino")]
    address: Annotated[str, Len(1), doc("a path or address, or what the format makes one of")]
    architecture: Annotated[str, Len(1), doc("timm's name; default: the part before the point")] | None = None
    sha256: (
        Annotated[str, _matching("[0-9a-f]{64}"), doc("of the file: 64 hexadecimal digits, small letters")]
        | None
    ) = None
    input_size: Annotated[int, Ge(1), doc("pixels")] | None = None
    crop: Annotated[float, Gt(0), Le(2), doc("what the centre crop leaves of the short side")] | None = None
    interpolation: Interpolation | None = None
    mean: Annotated[tuple[float, float, float], doc("red, green and blue, in [0, 1]")] | None = None
    std: Annotated[tuple[Scale, Scale, Scale], doc("red, green and blue, above 0")] | None = None


@dataclass(frozen=True, kw_only=True)
class FetchSettings:
    """How files of weights are fetched. No result depends on it."""

    mirror: (
        Annotated[str, Len(1), doc("a folder or the beginning of addresses that is tried first")] | None
    ) = None
    offline: Annotated[bool, doc("whether no connection may be opened")] = False
    lock: (
        Annotated[
            str, Len(1), doc("the file of checksums; default resources/weights.lock.yaml of the workflow")
        ]
        | None
    ) = None


@dataclass(frozen=True, kw_only=True)
class DatasetEntry:
    """Where the images of a data set are."""

    kind: Annotated[str, doc("image_folder, imagenet, or a data set of torchvision")]
    root: Annotated[str, Len(1), doc("its folder, as the kind expects it")]
    download: Annotated[bool, doc("whether torchvision may download it, once")] = False


@dataclass(frozen=True, kw_only=True)
class Draw:
    """Classes drawn at random."""

    draw: Annotated[int, Ge(2), doc("how many classes")]
    seed: Annotated[int, Ge(0), doc("of the draw; default data.seed")] | None = None
    part: Annotated[int, Ge(0), doc("which part of one draw; parts share no class")] = 0


Classes = Annotated[
    tuple[Annotated[Annotated[int, Ge(0)] | str, doc("an index, or a name in quotes")], ...], Len(2)
]


@dataclass(frozen=True, kw_only=True)
class OwnImagesPerClass:
    """Numbers of images for one task, in place of those under data."""

    train: CountOrRest | None = None
    calibration: Count | None = None
    validation: Count | None = None
    test: CountOrRest | None = None


@dataclass(frozen=True, kw_only=True)
class TaskEntry:
    """A task: some classes of a data set."""

    dataset: Annotated[str, doc("a name under datasets")]
    classes: (
        Annotated[
            Classes | Literal["all"] | Draw,
            doc("indices and names, all, or how many to draw; default: 10 drawn"),
        ]
        | None
    ) = None
    images_per_class: OwnImagesPerClass = field(default_factory=OwnImagesPerClass)


@dataclass(frozen=True, kw_only=True)
class GridSettings:
    """Every combination of these is computed."""

    backbones: Annotated[tuple[str, ...], Len(1), doc("architecture.pretraining")]
    sources: Annotated[tuple[str, ...], Len(1), doc("tasks whose images make masks and fine-tune models")]
    criteria: Annotated[
        tuple[Name, ...], Len(1), doc("labels under criteria, or criteria without required settings")
    ]
    allocations: Annotated[tuple[str, ...], Len(1), doc("how the sparsity is spread over layers")] = (
        "global",
    )
    sparsities: Annotated[tuple[Sparsity, ...], Len(1), doc("the dense model is always in the grid")]
    batchnorm: Annotated[tuple[BatchNorm, ...], Len(1), doc("BatchNorm's statistics after pruning")] = (
        "keep",
    )
    seeds: Annotated[
        tuple[Annotated[int, Ge(0)], ...], Len(1), doc("of examples, random scores and batches")
    ] = (0,)
    finetune: Annotated[
        tuple[BatchNorm, ...], doc("the treatments of grid.batchnorm whose models are fine-tuned too")
    ] = ()


@dataclass(frozen=True, kw_only=True)
class Label:
    """One criterion with its settings, as grid.criteria, paths and tables name it.

    `options` and `structure_options` hold what the criterion and its structure declare; the configuration writes them
    beside the other keys.
    """

    criterion: Annotated[str, doc("a criterion's name")]
    estimator: Annotated[str, doc("an estimator's name, for criteria that read curvature")] | None = None
    options: Options = field(default_factory=dict)
    structure_options: Options = field(default_factory=dict)
    update: (
        Annotated[Literal["joint"], doc("surviving weights make up for those removed from their block")]
        | None
    ) = None
    rounds: Annotated[
        int, Ge(1), Le(1000), doc("weights are removed in so many rounds; scores are computed anew in each")
    ] = 1
    schedule: Annotated[
        Literal["exponential", "linear", "cubic"], doc("how the sparsity grows over the rounds")
    ] = "exponential"


@dataclass(frozen=True, kw_only=True)
class DampingChoice:
    """Read where a criterion's damping is `chosen`, on the source's validation images."""

    candidates: Annotated[tuple[Annotated[float, Gt(0)], ...], Len(1), doc("values of damping")]
    sparsities: Annotated[
        tuple[Sparsity, ...], Len(1), doc("at which the criteria's validation accuracies are averaged")
    ]


@dataclass(frozen=True, kw_only=True)
class HeadSettings:
    """Ridge classifiers on the dense backbone's features."""

    alpha: Annotated[float, Gt(0), doc("ridge penalty")] = 1.0
    fit_split: Annotated[
        Literal["train", "test"], doc("images that heads are fitted on; test is the authors' protocol")
    ] = "train"


@dataclass(frozen=True, kw_only=True)
class CurvatureSettings:
    """Statistics of the source's calibration images. Settings of single estimators (`options`) stand beside these."""

    num_examples: Annotated[int, Ge(1), doc("calibration images that are read, evenly from every class")] = (
        200
    )
    batch_size: Annotated[int, Ge(1), doc("for speed and memory only")] = 50
    shares: Annotated[int, Ge(1), Le(1000), doc("jobs that divide the images; their results are merged")] = 1
    memory_gb: (
        Annotated[
            float,
            Gt(0),
            doc(
                "for one statistic; larger ones are computed in groups of layers; default half of what is free"
            ),
        ]
        | None
    ) = None
    options: Options = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class FinetuneSettings:
    """SGD on the squared loss Σ_k ½ (f_k − onehot_k)², mean over the batch, with mask and head fixed.

    The authors' loss is the mean over classes without the ½, 2/K times ours. Plain SGD then takes the same steps here
    with 2/K times their learning rate and K/2 times their weight decay: for K = 10, 5e-5 and 1e-4 become 1e-5 and 5e-4.
    """

    epochs: Annotated[int, Ge(1), doc("passes over the train split")]
    batch_size: Annotated[int, Ge(1), doc("images a step; the last step of an epoch takes what is left")] = 32
    learning_rate: Annotated[
        float, Gt(0), doc("of the loss ½ Σ (output − one-hot)², at the start of the schedule")
    ]
    momentum: Annotated[float, Ge(0), Lt(1), doc("torch's form v ← μ v + g, w ← w − η v")] = 0.9
    weight_decay: Annotated[
        float, Ge(0), doc("added to the gradient of all trained parameters, norms and biases too")
    ] = 1e-4
    schedule: Annotated[
        Literal["multistep", "cosine", "constant"],
        doc("multistep: × gamma at each milestone; cosine: to 0 at the end"),
    ] = "cosine"
    milestones: Annotated[
        tuple[Positive, ...], doc("epochs, counted from 0, at whose start multistep multiplies by gamma")
    ] = ()
    gamma: Annotated[float, Gt(0), Le(1), doc("the factor of multistep")] = 0.1
    batchnorm: Annotated[
        Literal["frozen", "trained"],
        doc("whether BatchNorm normalises with its running statistics or with the batch"),
    ] = "frozen"
    augmentation: Annotated[
        Literal["none", "flip", "crop_flip"],
        doc("left-right flips, or random resized crops and flips, drawn anew"),
    ] = "none"


@dataclass(frozen=True, kw_only=True)
class EvaluateSettings:
    """Forward passes for accuracies."""

    batch_size: Annotated[int, Ge(1), doc("for speed and memory only")] = 250


Precision = Literal["float32", "bfloat16"]


@dataclass(frozen=True, kw_only=True)
class ExportSettings:
    """Models to take home: the points of the grid that all these lists have. A key left out leaves out nothing."""

    backbones: Annotated[tuple[str, ...], Len(1)] | None = None
    sources: Annotated[tuple[str, ...], Len(1)] | None = None
    criteria: Annotated[tuple[str, ...], Len(1), doc("labels of grid.criteria, or dense")] | None = None
    allocations: Annotated[tuple[str, ...], Len(1)] | None = None
    sparsities: Annotated[tuple[float, ...], Len(1)] | None = None
    batchnorm: Annotated[tuple[BatchNorm, ...], Len(1)] | None = None
    seeds: Annotated[tuple[int, ...], Len(1)] | None = None
    stages: Annotated[tuple[Literal["pruned", "finetuned"], ...], Len(1)] = ("pruned", "finetuned")
    forms: Annotated[
        tuple[Literal["features", "zero_shot", "probe"], ...],
        Len(1),
        doc("features, or the logits of the source's classes by the frozen or by a re-fitted head"),
    ] = ("features",)


@dataclass(frozen=True, kw_only=True)
class Configuration:
    """The checked, complete configuration."""

    results: Annotated[str, Len(1), doc("the folder that holds everything that is made")] = "results"
    precision: Annotated[
        Precision,
        doc(
            "of forward and backward passes on a GPU, in evaluation and fine-tuning; a CPU computes in float32"
        ),
    ] = "float32"
    data: DataSettings
    backbones: Annotated[
        Mapping[str, BackboneEntry], doc("your own weights, by name: architecture.pretraining")
    ] = field(default_factory=dict)
    weights: FetchSettings = field(default_factory=FetchSettings)
    datasets: Annotated[Mapping[Name, DatasetEntry], doc("where images are, by name")] = field(
        default_factory=dict
    )
    tasks: Annotated[Mapping[Name, TaskEntry], doc("some classes of a data set, by name")] = field(
        default_factory=dict
    )
    suites: Annotated[
        Mapping[Name, Annotated[tuple[str, ...], Len(1), doc("names of tasks")]],
        Len(1),
        doc("tasks that are evaluated together in one pass over a model, by name"),
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
