"""The path of every artefact, below the folder of results: the one place that knows them.

A path names exactly what its content depends on. `magnitude` reads no data, so its path has no source and no seed and
every source shares its masks; `random` has a seed; a criterion that reads a source's images has a source and a seed.

    scoring    magnitude | random/seed_0 | obd/upper/seed_0; the first part is a label of the configuration
    state      dense | <scoring>/<allocation>/sparsity_<sparsity>
    batchnorm  keep | recalibrate_<source>
    tuning     on_<source>/seed_<seed>
    model      <backbone>/<state>/<batchnorm>, or with /<tuning>

Values are written with `str` and read back with `parse`. Templates (upper case) have Snakemake's wildcards and serve as
the outputs of rules.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from decimal import Decimal
from functools import cache
from pathlib import PurePath
from typing import Any, Self

from obtransfer.registry import STRUCTURES

PRETRAINED = "pretrained/{backbone}.safetensors"
DATASET = "datasets/{dataset}.csv"
TASK_IMAGES = "tasks/{task}/{view}.safetensors"
HEAD = "heads/{backbone}/{task}.safetensors"
CURVATURE = "curvature/{backbone}/{source}/seed_{seed}/{estimator}.{structure}.safetensors"
DATA_FREE_STATISTIC = "curvature/{backbone}/{estimator}.{structure}.safetensors"
SHARE = (
    "curvature/{backbone}/{source}/seed_{seed}/shares/{estimator}.{structure}.{share}_of_{shares}.safetensors"
)
DAMPING = "damping/{backbone}/{source}/seed_{seed}.csv"
SCORES = "scores/{backbone}/{scoring}.safetensors"
MASK = "masks/{backbone}/{scoring}/{allocation}/sparsity_{sparsity}.safetensors"
LAYERS = "masks/{backbone}/{scoring}/{allocation}/sparsity_{sparsity}.layers.csv"
ROUNDS = "rounds/{backbone}/{scoring}/{allocation}/sparsity_{sparsity}"
LAST_SCORES = f"{ROUNDS}/last_scores.safetensors"
ROUND = f"{ROUNDS}/round_{{round}}"
ROUND_STATISTIC = f"{ROUND}/{{estimator}}.{{structure}}.safetensors"
ROUND_SCORES = f"{ROUND}/scores.safetensors"
ROUND_MASK = f"{ROUND}/mask.safetensors"
ROUND_LAYERS = f"{ROUND}/mask.layers.csv"
FINETUNED = "finetuned/{backbone}/{state}/{batchnorm}/on_{source}/seed_{seed}.safetensors"
FINETUNED_MODEL = "finetuned/{backbone}/{state}/{batchnorm}/{tuning}.safetensors"
EVALUATION = "evaluations/{backbone}/{state}/{batchnorm}/{suite}.csv"
FINETUNED_EVALUATION = "evaluations/{backbone}/{state}/{batchnorm}/{tuning}/{suite}.csv"
EXPORT = "exports/{backbone}/{state}/{batchnorm}/{form}"
FINETUNED_EXPORT = "exports/{backbone}/{state}/{batchnorm}/{tuning}/{form}"
SUMMARY = "summary.csv"
SUMMARY_TEXT = "summary.txt"
FIGURES = "figures"
CRITERIA = "criteria.csv"
CRITERIA_TEXT = "criteria.md"

_NAME = "[a-z][a-z0-9_]*"
_STRUCTURES = "|".join(entry.pattern or name for name, entry in STRUCTURES.items())
_ORIGIN = f"(/{_NAME}/seed_[0-9]+|/seed_[0-9]+)?"
WILDCARDS = {
    "backbone": rf"{_NAME}\.[a-z0-9_]+",
    "task": _NAME,
    "view": "[0-9]+_crop[0-9]+_(bilinear|bicubic|nearest|lanczos)",
    "dataset": _NAME,
    "source": _NAME,
    "suite": _NAME,
    "seed": "[0-9]+",
    "estimator": _NAME,
    "structure": re.sub(r"\?P<\w+>", "", _STRUCTURES),
    "scoring": f"{_NAME}{_ORIGIN}",
    "round": "[1-9][0-9]*",
    "share": "[1-9][0-9]*",
    "shares": "[1-9][0-9]*",
    "allocation": _NAME,
    "sparsity": r"0\.[0-9]+",
    "state": rf"dense|{_NAME}{_ORIGIN}/{_NAME}/sparsity_0\.[0-9]+",
    "batchnorm": f"keep|recalibrate_{_NAME}",
    "tuning": f"on_{_NAME}/seed_[0-9]+",
    "form": f"features|(zero_shot|probe)_{_NAME}",
}
"""Wildcard -> regular expression."""


def decimal(sparsity: float | str) -> str:
    """The one way a sparsity is written in a path: 0.70 and 0.7 are both ``0.7``."""
    return format(Decimal(str(sparsity)).normalize(), "f")


def below(results: str, path: object) -> str:
    """A path in the folder of results, which may be the working folder itself."""
    return f"{_folder(results)}{path}"


@cache
def _folder(results: str) -> str:
    folder = PurePath(results).as_posix()
    return "" if folder == "." else f"{folder}/"


def log(rule: str, template: str) -> str:
    """The log of a rule's job, named like what it makes."""
    return f"logs/{_named_like(rule, template)}.log"


def benchmark(rule: str, template: str) -> str:
    """The benchmark of a rule's job, named like what it makes."""
    return f"benchmarks/{_named_like(rule, template)}.tsv"


def _named_like(rule: str, template: str) -> str:
    _, slash, rest = template.partition("/")
    for suffix in (".safetensors", ".csv"):
        rest = rest.removesuffix(suffix)
    return f"{rule}{slash}{rest}"


@dataclass(frozen=True)
class Scoring:
    """What scores depend on: a label, and the source and seed where the criterion reads images or draws."""

    label: str
    source: str = ""
    seed: int | None = None

    def __str__(self) -> str:
        parts = [self.label, self.source, "" if self.seed is None else f"seed_{self.seed}"]
        return "/".join(part for part in parts if part)

    @classmethod
    def parse(cls, text: str) -> Self:
        """The value that `str` wrote as `text`."""
        label, *rest = text.split("/")
        seed = int(rest.pop().removeprefix("seed_")) if rest else None
        return cls(label, rest[0] if rest else "", seed)


@dataclass(frozen=True)
class State:
    """A mask of one backbone, or, without a scoring, the dense model."""

    scoring: Scoring | None = None
    allocation: str = ""
    sparsity: str = ""

    def __str__(self) -> str:
        return f"{self.scoring}/{self.allocation}/sparsity_{self.sparsity}" if self.scoring else "dense"

    @classmethod
    def parse(cls, text: str) -> Self:
        """The value that `str` wrote as `text`."""
        if text == str(cls()):
            return cls()
        scoring, allocation, sparsity = text.rsplit("/", 2)
        return cls(Scoring.parse(scoring), allocation, sparsity.removeprefix("sparsity_"))


@dataclass(frozen=True)
class BatchNorm:
    """BatchNorm's statistics after pruning: kept, or recalibrated on the calibration images of `source`."""

    source: str = ""

    def __str__(self) -> str:
        return f"recalibrate_{self.source}" if self.source else "keep"

    @classmethod
    def parse(cls, text: str) -> Self:
        """The value that `str` wrote as `text`."""
        return cls(text.partition("_")[2])


@dataclass(frozen=True)
class Tuning:
    """Fine-tuning on one source."""

    source: str
    seed: int

    def __str__(self) -> str:
        return f"on_{self.source}/seed_{self.seed}"

    @classmethod
    def parse(cls, text: str) -> Self:
        """The value that `str` wrote as `text`."""
        source, _, seed = text.partition("/seed_")
        return cls(source.removeprefix("on_"), int(seed))


@dataclass(frozen=True)
class Model:
    """A dense, pruned or fine-tuned backbone."""

    backbone: str
    state: State = State()
    batchnorm: BatchNorm = BatchNorm()
    tuning: Tuning | None = None

    def __str__(self) -> str:
        return "/".join(map(str, filter(None, (self.backbone, self.state, self.batchnorm, self.tuning))))

    @classmethod
    def parse(cls, text: str) -> Self:
        """The value that `str` wrote as `text`."""
        backbone, _, rest = text.partition("/")
        tuned = re.fullmatch(rf"(.*)/({WILDCARDS['tuning']})", rest)
        treated = tuned[1] if tuned else rest
        state, _, batchnorm = treated.rpartition("/")
        tuning = Tuning.parse(tuned[2]) if tuned else None
        return cls(backbone, State.parse(state), BatchNorm.parse(batchnorm), tuning)

    @classmethod
    def of(cls, wildcards: Any) -> Self:
        """The model that a job's wildcards name: backbone, state, batchnorm and, where there is one, tuning."""
        tuning = wildcards.get("tuning")
        return cls(
            wildcards.backbone,
            State.parse(wildcards.state),
            BatchNorm.parse(wildcards.batchnorm),
            Tuning.parse(tuning) if tuning else None,
        )

    @property
    def mask(self) -> str:
        """Path of its mask."""
        return f"masks/{self.backbone}/{self.state}.safetensors"

    def evaluation(self, suite: str) -> str:
        """Path of its accuracies on the tasks of `suite`."""
        return f"evaluations/{self}/{suite}.csv"


@dataclass(frozen=True)
class Statistic:
    """A statistic of a dense backbone. A statistic that reads no images has neither source nor seed."""

    backbone: str
    estimator: str
    structure: str
    source: str = ""
    seed: int | None = None

    def __str__(self) -> str:
        template = CURVATURE if self.source else DATA_FREE_STATISTIC
        return template.format(**vars(self))


@dataclass(frozen=True)
class Form:
    """What an exported model returns: features, or the logits of a `task` by its frozen or its re-fitted head."""

    kind: str
    task: str = ""

    def __str__(self) -> str:
        return f"{self.kind}_{self.task}" if self.task else self.kind

    @classmethod
    def parse(cls, text: str) -> Self:
        """The value that `str` wrote as `text`."""
        for kind in ("zero_shot", "probe"):
            if text.startswith(f"{kind}_"):
                return cls(kind, text.removeprefix(f"{kind}_"))
        return cls(text)


@dataclass(frozen=True)
class Export:
    """An exported model, in one form."""

    model: Model
    form: Form

    def __str__(self) -> str:
        return f"exports/{self.model}/{self.form}"
