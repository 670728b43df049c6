"""Accuracy against sparsity before and after fine-tuning, with heads that are fitted anew."""

from __future__ import annotations

from functools import partial

from obtransfer.report.figures.base import ReportFigure
from obtransfer.report.lines import FINETUNED, PRUNED, accuracy_against_sparsity

FIGURE = ReportFigure(
    partial(accuracy_against_sparsity, head="probe", variants=(PRUNED, FINETUNED)),
    title="Accuracy before and after fine-tuning on the source, head fitted anew on the features (probe)",
    frozen_heads=False,
)
