"""Accuracy against sparsity before and after fine-tuning, with the dense backbone's frozen heads."""

from __future__ import annotations

from functools import partial

from obtransfer.report.figures.base import ReportFigure
from obtransfer.report.lines import FINETUNED, PRUNED, accuracy_against_sparsity

FIGURE = ReportFigure(
    partial(accuracy_against_sparsity, head="zero_shot", variants=(PRUNED, FINETUNED)),
    title="Accuracy before and after fine-tuning on the source, frozen dense head (zero-shot)",
)
