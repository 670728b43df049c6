"""`summary.txt`: where the results of a run are, what to look at, and what was observed, in less than a screen."""

from __future__ import annotations

from collections.abc import Callable
from math import isnan
from pathlib import Path
from textwrap import fill

import pandas as pd

from obtransfer.heads.sanity import banner, doubts
from obtransfer.report.accuracy_table import accuracy_table
from obtransfer.report.aggregate import source_accuracy, transfer_accuracy
from obtransfer.report.best_criteria import Best, Change, best_criteria, pruning_change, tuning_change
from obtransfer.report.summary import DENSE, frozen_head_rows, percent, protocol

_WIDTH = 100
_LONGEST_TABLE = 24


def closing_text(summary: pd.DataFrame, folder: Path | str = "results") -> str:
    """The closing text of a run: observations, no verdicts.

    Args:
        summary: prepared rows.
        folder: the folder of the results, as the text names it.

    Returns:
        About forty lines at most (the table is averaged over backbones when it would be longer), ending in a newline.
    """
    parts = [*_doubts(summary), _pointers(summary, folder)]
    if protocol(summary):
        parts.append(f"NOT HELD-OUT ACCURACIES: {protocol(summary)}.")
    best = best_criteria(summary)
    if best:
        parts += [_ranking(summary, best), _observations(summary, [b for b in best if b.stage == "pruned"])]
        parts.append(_table(summary, "unseen tasks", transfer_accuracy))
    elif (frozen_head_rows(summary)["criterion"] != DENSE).any():
        parts.append(
            "This run has no unseen task, so it shows nothing about transfer. Accuracy on the source task:"
        )
        parts.append(_table(summary, "the source task", source_accuracy))
    else:
        parts.append("This run has no pruned model with BatchNorm kept, so it shows nothing about pruning.")
    parts += _collapses(summary)
    return "\n".join(parts) + "\n"


def _doubts(summary: pd.DataFrame) -> list[str]:
    """A warning for every unpruned backbone whose head is near chance on its source: are these the right weights?"""
    rows = frozen_head_rows(summary)
    rows = rows[rows["is_source"] & (rows["stage"] == DENSE)].drop_duplicates(["backbone", "source"])
    columns = ["backbone", "source", "accuracy", "num_classes", "num_test"]
    reasons = [
        f"{backbone} on {source}: {reason}"
        for backbone, source, accuracy, classes, images in rows[columns].itertuples(index=False)
        for reason in doubts(float(accuracy), int(classes), int(images))
    ]
    return [banner("unpruned backbones near chance on their source", reasons)] if reasons else []


def _pointers(summary: pd.DataFrame, folder: Path | str) -> str:
    figures = Path(folder) / "figures"
    return (
        f"Results: {Path(folder) / 'summary.csv'} ({len(summary)} rows). Figures (PNG and SVG): {figures}\n"
        "Start with accuracy_zero_shot, then tasks_finetuning_change: what each task gains or loses."
    )


def _ranking(summary: pd.DataFrame, best: list[Best]) -> str:
    rows = frozen_head_rows(summary)
    tasks = rows.loc[~rows["is_source"], "task"].nunique()
    head = (
        f"Best criterion on unseen tasks (mean of {_count(tasks, 'task')} and "
        f"{_count(rows['backbone'].nunique(), 'backbone')}; lead ± standard error over tasks):"
    )
    return "\n".join([head, *(_rank(entry) for entry in best)])


def _rank(best: Best) -> str:
    stage = "fine-tuned" if best.stage == "finetuned" else "pruned"
    text = f"  {percent(best.sparsity):>4} % {stage:<10}  {best.series} {100 * best.accuracy:.1f} %"
    if not best.runner_up:
        return f"{text} (the only criterion)"
    lead = f"{100 * best.difference:.1f}"
    if isnan(best.error):
        return f"{text}, {lead} points over {best.runner_up} (one task, so no standard error)"
    text = f"{text}, {lead} ± {100 * best.error:.1f} points over {best.runner_up}"
    return text if best.clear else f"{text}: within the standard error, no clear best"


def _observations(summary: pd.DataFrame, best: list[Best]) -> str:
    pruning = [(f"{percent(entry.sparsity)} %", pruning_change(summary, entry)) for entry in best]
    tuning = [(f"{percent(entry.sparsity)} %", tuning_change(summary, entry)) for entry in best]
    tuning.append(("unpruned", tuning_change(summary, None)))
    first = [f"{name} {_points(change)}" for name, change in pruning if change]
    second = [f"{name} {_points(change)} {_gained(change)}" for name, change in tuning if change]
    lines = [
        "Observed with the best pruned criterion: points of accuracy, unseen tasks / source (without a test)"
    ]
    if first:
        lines.append(_wrapped(f"P1, pruning alone: {', '.join(first)}."))
    if second:
        lines.append(
            _wrapped(f"P2, then fine-tuning on the source (unseen tasks that gain): {', '.join(second)}.")
        )
    return "\n".join(lines)


def _points(change: Change) -> str:
    unseen, source = change.unseen_after - change.unseen_before, change.source_after - change.source_before
    return f"{100 * unseen:+.1f} / {100 * source:+.1f}".replace("-", "−")


def _gained(change: Change) -> str:
    return f"({change.num_gained} of {change.num_tasks})"


def _collapses(summary: pd.DataFrame) -> list[str]:
    """Layers that lost all their weights, by series and sparsity; nothing where none did."""
    models = ["backbone", "source", "seed", "series", "sparsity", "stage"]
    rows = summary[summary["stage"] == "pruned"].drop_duplicates(models)
    rows = rows[rows["collapsed_layers"] > 0]
    if rows.empty:
        return []
    counts = rows.groupby(["series", "sparsity"], sort=True)["collapsed_layers"].agg(["count", "max"])
    places = [
        f"{series} at {percent(float(sparsity))} % ({_count(int(count), 'model')}, up to {_count(int(most), 'layer')})"
        for (series, sparsity), count, most in zip(counts.index, counts["count"], counts["max"], strict=True)
    ]
    return [_wrapped(f"Layer collapse (all weights of a layer removed): {', '.join(places)}.")]


def _table(summary: pd.DataFrame, tasks: str, mean: Callable[[pd.DataFrame], pd.DataFrame]) -> str:
    """By backbone, or averaged over backbones where that table would be longer than a screen."""
    title = (
        f"Mean accuracy on {tasks} (%), frozen dense head; a → b: before → after fine-tuning on the source"
    )
    table = accuracy_table(summary, mean)
    if table.count("\n") - 1 > _LONGEST_TABLE:
        table = accuracy_table(summary, mean, by_backbone=False)
    return f"{title}\n{table}"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _wrapped(text: str) -> str:
    return fill(text, _WIDTH, initial_indent="  ", subsequent_indent="    ")
