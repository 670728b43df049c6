"""The figures of a run: always the same files, so that the workflow can name them before anything is known."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure

from obtransfer.report.aggregate import fine_tuning_change, task_accuracy
from obtransfer.report.colours import ACCURACY, change_colours
from obtransfer.report.heat_map import heat_maps
from obtransfer.report.lines import accuracy_against_sparsity
from obtransfer.report.prepared import protocol, read_summary
from obtransfer.report.style import FORMATS, Variant, add_title, plot_settings, save

PRUNED = Variant("pruned", "pruned", "keep", band=True)
FINETUNED = Variant(
    "pruned + fine-tuned", "finetuned", "keep", "--", filled=False,
    control_stage="finetuned", control_label="dense + fine-tuned",
)  # fmt: skip
RECALIBRATED = Variant(
    "pruned, BatchNorm recalibrated", "pruned", "recalibrate", band=True,
    control_stage="dense", control_label="dense + recalibrated", control_marker="s",
)  # fmt: skip
KEPT = Variant("pruned, BatchNorm kept", "pruned", "keep", ":", filled=False)


def _pruned_map(summary: pd.DataFrame) -> Figure:
    rows = task_accuracy(_zero_shot(summary))
    title = "Accuracy of every task after pruning (frozen dense head)"
    return heat_maps(rows[rows["stage"] != "finetuned"], title=title, colours=ACCURACY)


def _change_map(summary: pd.DataFrame) -> Figure:
    rows = fine_tuning_change(task_accuracy(_zero_shot(summary)))
    title = "What fine-tuning on the source adds to every task (frozen dense head)"
    return heat_maps(rows, title=title, colours=change_colours(rows))


def _zero_shot(summary: pd.DataFrame) -> pd.DataFrame:
    return summary[(summary["head"] == "zero_shot") & (summary["batchnorm"] == "keep")]


_lines = accuracy_against_sparsity
OF_FITTED_HEADS = "accuracy_probe"  # the only figure without frozen heads
FIGURES: dict[str, Callable[[pd.DataFrame], Figure]] = {
    "accuracy_zero_shot": partial(
        _lines, head="zero_shot", variants=(PRUNED, FINETUNED),
        title="Accuracy before and after fine-tuning on the source, frozen dense head (zero-shot)",
    ),
    "accuracy_probe": partial(
        _lines, head="probe", variants=(PRUNED, FINETUNED),
        title="Accuracy before and after fine-tuning on the source, head fitted anew on the features (probe)",
    ),
    "accuracy_recalibrated": partial(
        _lines, head="zero_shot", variants=(RECALIBRATED, KEPT),
        title="Accuracy with BatchNorm kept and recalibrated, frozen dense head (zero-shot)",
    ),
    "tasks_pruned": _pruned_map,
    "tasks_finetuning_change": _change_map,
}  # fmt: skip


def figure_files(folder: Path | str) -> list[Path]:
    """The files `draw_all` writes, in order: a PNG and an SVG of every figure."""
    return [Path(folder) / f"{name}.{kind}" for name in FIGURES for kind in FORMATS]


def draw_all(summary_csv: Path | str, folder: Path | str) -> list[Path]:
    """Draw every figure of a summary into `folder`; one that has nothing to show says so.

    Returns:
        The files written, as in `figure_files`.

    Raises:
        ObtransferError: the summary is missing or lacks columns.
    """
    summary = read_summary(summary_csv)
    files: list[Path] = []
    with plot_settings():
        for name, draw in FIGURES.items():
            figure = draw(summary)
            if protocol(summary) and name != OF_FITTED_HEADS:
                add_title(figure, f"{figure.get_suptitle()} – {protocol(summary)}")
            files += save(figure, folder, name)
    return files
