"""Sentences about `criteria_table`: which criterion is best, by how much, and where the data cannot tell."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import isnan

import pandas as pd

from obtransfer.report.bootstrap import LEVEL
from obtransfer.report.summary import BACKBONE, percent


@dataclass(frozen=True)
class BestInCell:
    """The criterion with the highest mean transfer accuracy in one cell; its lead and the interval are in [0, 1].

    `rivals`: the other criteria that may be as good, by their own intervals. `runner_up` is empty for an only
    criterion.
    """

    place: str
    criterion: str
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


def best_in_cell(cell: pd.DataFrame, *, name_allocation: bool = False) -> BestInCell:
    """The best of the rows of one cell, which all have a transfer accuracy."""
    best = cell.iloc[int(cell["transfer_accuracy"].argmax())]
    place = f"{best['architecture']}.{best['pretraining']}"
    others = cell[(cell["criterion"] != best["criterion"]) & (cell["lead_high"] >= 0)]
    return BestInCell(
        place=f"{place}, {best['allocation']}" if name_allocation else place,
        criterion=best["criterion"],
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
    everywhere: list[BestInCell] = []
    for sparsity, part in rows.groupby("sparsity"):
        cells = part.groupby([*BACKBONE, "allocation"], sort=False)
        found = [best_in_cell(cell, name_allocation=several) for _, cell in cells]
        lines.append(f"* {percent(float(str(sparsity)))} %: {'; '.join(_clauses(found))}.")
        everywhere += found
    return "\n".join([_count(everywhere), "", *lines])


def _count(found: Sequence[BestInCell]) -> str:
    compared = [best for best in found if best.runner_up]
    clear = [best for best in compared if best.clear]
    cells = f"{len(compared)} cell{'s' if len(compared) > 1 else ''} (backbone and sparsity)"
    if not compared:
        return "There is one criterion only: nothing to compare."
    if not any(best.known for best in compared):
        return f"Highest mean in {cells}, no interval known: {_tally(compared)}."
    if not clear:
        return f"Nothing can be said about the first place in {cells}."
    text = f"Clearly best in {len(clear)} of {cells}: {_tally(clear)}."
    rest = len(compared) - len(clear)
    return f"{text} In the other {rest} nothing can be said about the first place." if rest else text


def _tally(found: Sequence[BestInCell]) -> str:
    counts = Counter(best.criterion for best in found)
    return ", ".join(f"`{name}` {times}" for name, times in counts.most_common())


def _clauses(found: Sequence[BestInCell]) -> Iterator[str]:
    clear = [best for best in found if best.clear]
    for name in dict.fromkeys(best.criterion for best in clear):
        places = [f"{best.place} ({_lead(best)})" for best in clear if best.criterion == name]
        yield f"`{name}` is best on {_joined(places)}"
    if unclear := [best for best in found if best.known and not best.clear]:
        yield f"no clear best on {_joined([f'{best.place} ({_unclear(best)})' for best in unclear])}"
    if unknown := [best for best in found if best.runner_up and not best.known]:
        places = [
            f"{best.place} (`{best.criterion}` {_points(best.lead)} points over `{best.runner_up}`)"
            for best in unknown
        ]
        yield f"no interval, so nothing can be said, on {_joined(places)}"
    if alone := [best for best in found if not best.runner_up]:
        yield f"only one criterion on {_joined([best.place for best in alone])}"


def _lead(best: BestInCell) -> str:
    ends = f"{_points(best.low)} to {_points(best.high)}"
    return f"{_points(best.lead)} points over `{best.runner_up}`, {100 * LEVEL:g} % interval {ends}"


def _unclear(best: BestInCell) -> str:
    text = f"`{best.criterion}` {_lead(best)}, highest in {100 * best.probability:.0f} % of resamples"
    rivals = ", ".join(f"`{name}`" for name in best.rivals)
    return f"{text}; within reach too: {rivals}" if rivals else text


def _points(difference: float) -> str:
    """Points with one decimal, a true minus and no "-0.0"; two decimals below a tenth, so that the sign shows."""
    decimals = 1 if abs(difference) >= 0.001 else 2
    return f"{round(100 * difference, decimals) + 0.0:.{decimals}f}".replace("-", "−")


def _joined(parts: Sequence[str]) -> str:
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"
