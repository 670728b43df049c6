"""Which criterion is best where, by how much, and where nothing can be said: sentences on rows of `criteria_table`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import isnan

import pandas as pd

from obtransfer.report.bootstrap import LEVEL
from obtransfer.report.prepared import percent


@dataclass(frozen=True)
class Verdict:
    """The best criterion of one cell by mean transfer accuracy; its lead and the lead's interval are in [0, 1].

    `rivals`: the others that may be as good, by their own interval. `runner_up` is empty for an only criterion.
    """

    place: str
    best: str
    runner_up: str
    lead: float
    low: float
    high: float
    probability: float
    rivals: tuple[str, ...]

    @property
    def known(self) -> bool:
        """Whether there is an interval."""
        return not isnan(self.low)

    @property
    def clear(self) -> bool:
        """Whether the interval of the lead lies above 0."""
        return self.low > 0


def verdict(cell: pd.DataFrame, *, name_allocation: bool = False) -> Verdict:
    """Of the rows of one cell, which all have a transfer accuracy."""
    best = cell.iloc[int(cell["transfer_accuracy"].argmax())]
    place = f"{best['architecture']}.{best['pretraining']}"
    others = cell[(cell["criterion"] != best["criterion"]) & (cell["lead_high"] >= 0)]
    return Verdict(
        place=f"{place}, {best['allocation']}" if name_allocation else place,
        best=best["criterion"],
        runner_up=best["lead_over"],
        lead=float(best["lead"]),
        low=float(best["lead_low"]),
        high=float(best["lead_high"]),
        probability=float(best["probability_best"]),
        rivals=tuple(name for name in others["criterion"] if name != best["lead_over"]),
    )


def sentences(rows: pd.DataFrame) -> str:
    """A count over all cells, then a line for every sparsity.

    Args:
        rows: of one stage and BatchNorm treatment, all with a transfer accuracy.
    """
    several = rows["allocation"].nunique() > 1
    lines: list[str] = []
    everywhere: list[Verdict] = []
    for sparsity in sorted(rows["sparsity"].unique()):
        cells = rows[rows["sparsity"] == sparsity].groupby(
            ["architecture", "pretraining", "allocation"], sort=False
        )
        verdicts = [verdict(cell, name_allocation=several) for _, cell in cells]
        lines.append(f"* {percent(float(sparsity))} %: {'; '.join(_clauses(verdicts))}.")
        everywhere += verdicts
    return "\n".join([_count(everywhere), "", *lines])


def _count(verdicts: Sequence[Verdict]) -> str:
    compared = [v for v in verdicts if v.runner_up]
    clear = [v for v in compared if v.clear]
    cells = f"{len(compared)} cell{'s' if len(compared) > 1 else ''} (backbone and sparsity)"
    if not compared:
        return "There is one criterion only: nothing to compare."
    if not any(v.known for v in compared):
        return f"Highest mean in {cells}, no interval known: {_tally(compared)}."
    if not clear:
        return f"Nothing can be said about the first place in {cells}."
    text = f"Clearly best in {len(clear)} of {cells}: {_tally(clear)}."
    rest = len(compared) - len(clear)
    return f"{text} In the other {rest} nothing can be said about the first place." if rest else text


def _tally(verdicts: Sequence[Verdict]) -> str:
    return ", ".join(f"`{name}` {times}" for name, times in Counter(v.best for v in verdicts).most_common())


def _clauses(verdicts: Sequence[Verdict]) -> Iterator[str]:
    clear = [v for v in verdicts if v.clear]
    for best in dict.fromkeys(v.best for v in clear):
        places = [f"{v.place} ({_lead(v)})" for v in clear if v.best == best]
        yield f"`{best}` is best on {_joined(places)}"
    if unclear := [v for v in verdicts if v.known and not v.clear]:
        yield f"no clear best on {_joined([f'{v.place} ({_unclear(v)})' for v in unclear])}"
    if unknown := [v for v in verdicts if v.runner_up and not v.known]:
        places = [f"{v.place} (`{v.best}` {_points(v.lead)} points over `{v.runner_up}`)" for v in unknown]
        yield f"no interval, so nothing can be said, on {_joined(places)}"
    if alone := [v for v in verdicts if not v.runner_up]:
        yield f"only one criterion on {_joined([v.place for v in alone])}"


def _lead(v: Verdict) -> str:
    return f"{_points(v.lead)} points over `{v.runner_up}`, {100 * LEVEL:g} % interval {_points(v.low)} to {_points(v.high)}"


def _unclear(v: Verdict) -> str:
    text = f"`{v.best}` {_lead(v)}, highest in {100 * v.probability:.0f} % of resamples"
    return f"{text}; within reach too: {', '.join(f'`{name}`' for name in v.rivals)}" if v.rivals else text


def _points(difference: float) -> str:
    """Points with one decimal, a true minus and no "-0.0"; two decimals below a tenth, so that a sign is seen."""
    decimals = 1 if abs(difference) >= 0.001 else 2
    return f"{round(100 * difference, decimals) + 0.0:.{decimals}f}".replace("-", "−")


def _joined(parts: Sequence[str]) -> str:
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"
