"""Accuracy against sparsity with BatchNorm's statistics kept and recalibrated."""

from __future__ import annotations

from functools import partial

from obtransfer.report.figures.base import ReportFigure
from obtransfer.report.legend import Variant
from obtransfer.report.lines import accuracy_against_sparsity

RECALIBRATED = Variant(
    "pruned, BatchNorm recalibrated", "pruned", "recalibrate", band=True,
    control_stage="dense", control_label="dense + recalibrated", control_marker="s",
)  # fmt: skip
KEPT = Variant("pruned, BatchNorm kept", "pruned", "keep", ":", filled=False)

FIGURE = ReportFigure(
    partial(accuracy_against_sparsity, head="zero_shot", variants=(RECALIBRATED, KEPT)),
    title="Accuracy with BatchNorm kept and recalibrated, frozen dense head (zero-shot)",
)
