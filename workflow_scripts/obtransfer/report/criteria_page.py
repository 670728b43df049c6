"""`criteria.md`: the table of criteria for people, with what can be said about the best ones."""

from __future__ import annotations

import pandas as pd

from obtransfer.report.accuracy_table import markdown
from obtransfer.report.bootstrap import COVERAGE, FEWEST_SOURCES, FEWEST_TASKS, LEVEL, NUM_RESAMPLES
from obtransfer.report.criteria_sentences import best_in_cell, sentences
from obtransfer.report.summary import FITTED_ON_TEST, percent

_NONE = "–"
_TITLES = {"pruned": "Pruned", "finetuned": "Pruned, then fine-tuned on the source"}
_BACKBONE = ["architecture", "pretraining", "allocation"]


def criteria_page(table: pd.DataFrame) -> str:
    """A Markdown page on the rows of `criteria_table` with BatchNorm kept: tables and sentences for every stage.

    Cells read "source / transfer" in per cent, each with half the width of its interval; the best transfer accuracy
    is bold where the interval of its lead lies above 0.
    """
    kept = table[table["batchnorm"] == "keep"]
    rows = kept[kept["transfer_accuracy"].notna()]
    parts = ["# Criterion × sparsity × backbone"]
    if rows.empty:
        reason = "no pruned model with BatchNorm kept has an unseen task that all criteria have in common"
        return f"{parts[0]}\n\nNothing to compare: {reason}.\n"
    if (rows["fit_split"] != "train").any():
        parts.append(f"**Not held-out accuracies: {FITTED_ON_TEST}, the protocol of the paper's authors.**")
    parts.append(_introduction(rows))
    for stage, title in _TITLES.items():
        part = rows[rows["stage"] == stage]
        if not part.empty:
            parts += [f"## {title}", criteria_grid(part), sentences(part)]
            parts += _left_out(kept[(kept["stage"] == stage) & (kept["num_sources"] == 0)])
    return "\n\n".join(parts) + "\n"


def criteria_grid(rows: pd.DataFrame) -> str:
    """Backbones and criteria down (the unpruned model first), sparsities across.

    Args:
        rows: of one stage and BatchNorm treatment, all with a transfer accuracy.
    """
    removed = sorted(rows["sparsity"].unique())
    several = rows["allocation"].nunique() > 1
    lines = [["backbone", "criterion", *(f"{percent(sparsity)} %" for sparsity in removed)]]
    for (architecture, pretraining, allocation), part in rows.groupby(_BACKBONE, sort=False):
        cells = dict(list(part.groupby("sparsity")))
        name = f"{architecture}.{pretraining}"
        lines.append([name, "*dense*", *(_dense(cells.get(sparsity)) for sparsity in removed)])
        for criterion in dict.fromkeys(part["criterion"]):
            label = f"{criterion}, {allocation}" if several else criterion
            lines.append([name, label, *(_cell(cells.get(sparsity), criterion) for sparsity in removed)])
    return markdown(lines, left=2)


def _dense(cell: pd.DataFrame | None) -> str:
    if cell is None:
        return _NONE
    row = cell.iloc[0]
    return f"{_per_cent(row['dense_source_accuracy'])} / {_per_cent(row['dense_transfer_accuracy'])}"


def _cell(cell: pd.DataFrame | None, criterion: str) -> str:
    if cell is None or criterion not in set(cell["criterion"]):
        return _NONE
    row = cell[cell["criterion"] == criterion].iloc[0]
    source, transfer = _with_interval(row, "source"), _with_interval(row, "transfer")
    best = best_in_cell(cell)
    return (
        f"{source} / **{transfer}**"
        if best.clear and best.criterion == criterion
        else f"{source} / {transfer}"
    )


def _with_interval(row: pd.Series, name: str) -> str:
    half = (row[f"{name}_high"] - row[f"{name}_low"]) / 2
    mean = _per_cent(row[f"{name}_accuracy"])
    return mean if pd.isna(half) else f"{mean} ± {_per_cent(half)}"


def _per_cent(value: float) -> str:
    return _NONE if pd.isna(value) else f"{100 * value:.1f}"


def _left_out(rows: pd.DataFrame) -> list[str]:
    if rows.empty:
        return []
    places = rows["architecture"] + "." + rows["pretraining"] + " at " + rows["sparsity"].map(percent) + " %"
    reason = "Not compared, because no source, seed and task is shared by all criteria"
    return [f"{reason}: {', '.join(dict.fromkeys(places))}."]


def _introduction(rows: pd.DataFrame) -> str:
    sizes = ", ".join(_size(rows, name) for name in ("source", "seed", "task"))
    text = (
        "Source / transfer accuracy in %: on the source task / mean over all other tasks. "
        "Frozen dense head, BatchNorm kept. The criteria of one backbone and sparsity are compared on what they share: "
        f"{sizes}. *dense* is the unpruned model, treated likewise."
    )
    if rows["transfer_low"].isna().all():
        return (
            f"{text}\n\n**No interval is given:** it needs at least {FEWEST_SOURCES} sources and {FEWEST_TASKS} unseen "
            "tasks. Other sources, tasks and seeds may give another order."
        )
    return (
        f"{text}\n\n± is half the width of the {100 * LEVEL:g} % percentile interval of {NUM_RESAMPLES} resamples of the "
        "tasks (in both roles at once) and of the seeds. **Bold** is the best transfer accuracy, where the interval of "
        "its lead over the next criterion (on the same resamples) lies above 0. Not resampled: test images, "
        f"pre-training runs, backbones; nothing is claimed about other ones. {_caution(rows)}"
    )


def _caution(rows: pd.DataFrame) -> str:
    known = rows[rows["transfer_low"].notna()]
    fewest = int(known["num_sources"].min())
    low, high = COVERAGE[max(size for size in COVERAGE if size <= fewest)]
    seeds = " With one seed, the noise of seeds is in no interval." if (known["num_seeds"] == 1).any() else ""
    return (
        f"With {fewest} sources such an interval holds the truth in about {low} to {high} % of simulated cases, not in "
        f"{100 * LEVEL:g} %: of a hundred cells with two equal criteria, {100 - high} to {100 - low} would seem clear by "
        f"chance.{seeds}"
    )


def _size(rows: pd.DataFrame, name: str) -> str:
    """ "3 sources", or "1 to 3 sources" where cells differ."""
    low, high = int(rows[f"num_{name}s"].min()), int(rows[f"num_{name}s"].max())
    number = str(low) if low == high else f"{low} to {high}"
    noun = "unseen task" if name == "task" else name
    return f"{number} {noun}" if high == 1 else f"{number} {noun}s"
