"""The rows of `results/summary.csv`, checked, with what every figure and table asks of them."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from obtransfer.errors import ObtransferError
from obtransfer.report.summary import COLUMNS

DENSE = "dense"
UNSEEN_IN_PRETRAINING = ("hebrew", "shapes", "handwritten")
FITTED_ON_TEST = "heads fitted on the test images they are scored on (heads.fit_split: test)"
"""What everything says that shows frozen heads of the authors' protocol."""
KNOWN_ORDER = ("magnitude", "obd", "obs", "kfac_obs", "snip", "grasp", "synflow", "px", "random")


def read_summary(path: Path | str) -> pd.DataFrame:
    """Read `summary.csv`, with or without a card line, and `prepare` it.

    Raises:
        ObtransferError: the file or some of its columns are missing, or it has no rows.
    """
    if not Path(path).is_file():
        raise ObtransferError(f"{path} does not exist; make it with: snakemake --cores 2 {path}")
    return prepare(pd.read_csv(path, comment="#"))


def prepare(rows: pd.DataFrame) -> pd.DataFrame:
    """Check the columns, give empty cells a value, and add `backbone` and `series`.

    `series` is what a figure gives one colour: the criterion, with its allocation where a run compares several. Seeds
    that are empty (nothing random involved) become 0. Prepared rows pass unchanged.

    Raises:
        ObtransferError: columns are missing, or there are no rows.
    """
    missing = [name for name in COLUMNS if name not in rows.columns]
    if missing:
        raise ObtransferError(
            f"a summary needs the columns {', '.join(COLUMNS)}; missing: {', '.join(missing)}. Remake summary.csv"
        )
    if rows.empty:
        raise ObtransferError("the summary has no rows: nothing was evaluated. Remake summary.csv")
    frame = rows.copy()
    frame["allocation"] = frame["allocation"].astype(object).fillna("").astype(str)
    frame["source"] = frame["source"].astype(object).fillna("").astype(str)
    frame["seed"] = pd.to_numeric(frame["seed"], errors="coerce").fillna(0).astype("int64")
    frame["is_source"] = frame["is_source"].astype(str).str.lower().isin(["true", "1"])
    frame["backbone"] = frame["architecture"] + "." + frame["pretraining"]
    several = frame.loc[frame["allocation"] != "", "allocation"].nunique() > 1
    frame["series"] = frame["criterion"]
    if several:
        named = frame["allocation"] != ""
        frame.loc[named, "series"] = frame["criterion"] + ", " + frame["allocation"]
    return frame


def protocol(summary: pd.DataFrame) -> str:
    """`FITTED_ON_TEST` where some frozen heads among the rows were fitted on test images, else nothing."""
    frozen = summary.loc[summary["head"] == "zero_shot", "fit_split"]
    return FITTED_ON_TEST if (frozen == "test").any() else ""


def series_order(summary: pd.DataFrame) -> list[str]:
    """Series in the order every figure and table shows: that of `criterion_rank`."""
    pruned = summary.loc[
        summary["criterion"] != DENSE, ["criterion", "allocation", "series"]
    ].drop_duplicates()
    keys = [(criterion_rank(c), a, s) for c, a, s in pruned.itertuples(index=False)]
    return [series for *_, series in sorted(keys)]


def criterion_rank(label: str) -> tuple[int, str]:
    """Sorts labels of criteria: the known ones in `KNOWN_ORDER`, each before its variants ("obs_block64" after "obs"),
    then the others by name."""
    known = [name for name in KNOWN_ORDER if label == name or label.startswith(f"{name}_")]
    return (KNOWN_ORDER.index(max(known, key=len)), label) if known else (len(KNOWN_ORDER), label)


def sparsities(summary: pd.DataFrame) -> list[float]:
    """The sparsities of pruned rows, ascending."""
    return sorted(float(q) for q in summary.loc[summary["criterion"] != DENSE, "sparsity"].unique())


def percent(sparsity: float) -> str:
    """A sparsity as the per cent a reader expects: 0.7 is "70", 0.985 is "98.5"."""
    return f"{round(100 * sparsity, 4):g}"
