"""Figures: what they hold, that nothing overlaps, and that equal data give equal files."""

from collections.abc import Iterator
from itertools import combinations
from pathlib import Path

import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.text import Text
from obtransfer.registry import FIGURES
from obtransfer.report.aggregate import task_accuracy
from obtransfer.report.figures.base import draw_all
from obtransfer.report.heat_map import cell_text
from obtransfer.report.heat_map_values import heat_map_values
from obtransfer.report.style import plot_settings, save, series_styles
from obtransfer.report.summary import prepare, read_summary


@pytest.fixture(autouse=True)
def _settings() -> Iterator[None]:
    with plot_settings():
        yield


def assert_no_overlap(figure: Figure) -> None:
    """Titles, tick labels, axis labels and the legend touch neither each other nor the edge."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    texts: list[Text] = [text for text in figure.texts if text.get_text()]
    for axes in figure.axes:
        texts += [
            axes.title,
            axes.xaxis.label,
            axes.yaxis.label,
            *axes.get_yticklabels(),
            *axes.get_xticklabels(),
        ]
        for child in axes.child_axes:
            texts += child.get_xticklabels()
    for legend in figure.legends:
        texts += legend.get_texts()
    boxes = [
        (text.get_text(), text.get_window_extent(canvas.get_renderer()))
        for text in texts
        if text.get_text().strip() and text.get_visible()
    ]
    page = figure.bbox.padded(1)
    outside = [
        name for name, box in boxes if not (page.x0 <= box.x0 and box.x1 <= page.x1 and page.y0 <= box.y0)
    ]
    assert not outside
    touching = [
        (a, b) for (a, one), (b, other) in combinations(boxes, 2) if one.padded(-1).overlaps(other.padded(-1))
    ]
    assert not touching


def labels(axes: object) -> list[str]:
    return [str(line.get_label()) for line in axes.get_lines()]


def test_lines_per_panel_and_reference_levels(make_summary) -> None:
    figure = FIGURES["accuracy_zero_shot"].finish(prepare(make_summary()))
    assert len(figure.axes) == 8
    transfer, source = figure.axes[0], figure.axes[2]
    for criterion in ("magnitude", "obd", "obs", "random"):
        assert f"{criterion} / pruned" in labels(transfer)
        assert f"{criterion} / pruned + fine-tuned" in labels(source)
    assert "dense + fine-tuned" in labels(transfer)
    for axes in (transfer, source):
        levels = {line.get_label(): line.get_ydata()[0] for line in axes.get_lines()}
        assert levels["chance"] == pytest.approx(100 / 10)
        assert levels["dense"] == pytest.approx(86 if axes is transfer else 90)
    assert len(transfer.collections) == 4
    assert len(source.collections) == 0
    line = next(line for line in transfer.get_lines() if line.get_label() == "obs / pruned")
    assert list(line.get_xdata()) == pytest.approx([50, 70, 90])
    assert line.get_ydata()[1] == pytest.approx(86 * 0.9**0.7)
    assert_no_overlap(figure)


def test_recalibration_shows_backbones_that_have_it(make_summary) -> None:
    summary = prepare(make_summary())
    figure = FIGURES["accuracy_recalibrated"].finish(summary)
    titles = {axes.get_title() for axes in figure.axes} - {""}
    assert titles == {"miniresnet, dino", "miniresnet, supervised"}
    empty = FIGURES["accuracy_recalibrated"].finish(summary[summary["batchnorm"] == "keep"])
    assert not empty.axes
    assert "no such rows" in empty.texts[0].get_text()


@pytest.mark.parametrize("name", ["accuracy_zero_shot", "tasks_finetuning_change"])
@pytest.mark.parametrize(
    "case",
    [
        {"backbones": ["miniresnet.dino"], "sparsities": (0.7,), "tasks": ("upper",)},
        {"backbones": ["miniresnet.dino"], "sparsities": (0.1, 0.8, 0.9, 0.95, 0.985), "stages": ("pruned",)},
        {
            "backbones": ["miniresnet.dino", "miniresnet.supervised"],
            "criteria": ["magnitude", "a_criterion_with_a_long_name", *(f"other_{i}" for i in range(8))],
        },
    ],
    ids=["one of everything", "no fine-tuning", "ten criteria"],
)
def test_odd_runs_are_drawn_without_overlap(make_summary, name: str, case: dict) -> None:
    assert_no_overlap(FIGURES[name].finish(prepare(make_summary(**case))))


def test_missing_unseen_tasks_and_fine_tuning_are_said(make_summary) -> None:
    figure = FIGURES["accuracy_zero_shot"].finish(
        prepare(make_summary(["mini.dino"], tasks=("upper",), stages=("pruned",)))
    )
    assert [text.get_text() for text in figure.axes[0].texts] == ["no unseen tasks in this run"]
    entries = [text.get_text() for text in figure.legends[0].get_texts()]
    assert "pruned" in entries
    assert "pruned + fine-tuned" not in entries
    assert "middle half of unseen tasks" not in entries


def test_heat_map_rows_columns_and_values(make_summary) -> None:
    summary = prepare(make_summary(["mini.dino"], tasks=("hebrew", "upper", "lower")))
    grid = heat_map_values(task_accuracy(summary[(summary["stage"] != "finetuned")]), ["obs", "obd"])
    assert grid.rows == ["upper (source)", "lower", "hebrew †"]
    assert grid.columns == ["0", "50", "70", "90", "50", "70", "90"]
    assert grid.values[0, 0] == pytest.approx(90)
    assert grid.values[1, 2] == pytest.approx(88 * 0.9**0.7)
    figure = FIGURES["tasks_finetuning_change"].finish(summary)
    printed = {text.get_text() for text in figure.axes[0].texts}
    assert printed == {"5", "1"}
    mesh = figure.axes[0].collections[0]
    assert (mesh.norm.vmin, mesh.norm.vmax) == (-5.0, 5.0)
    assert_no_overlap(figure)


def test_cells_round_to_points() -> None:
    assert [cell_text(v) for v in (99.6, -0.3, -2.6, float("nan"))] == ["100", "0", "−3", "–"]


def test_styles_are_distinct_and_stable() -> None:
    names = ["magnitude", "obd", "obs", "random", *"abcdef"]
    styles = series_styles(names)
    colours = [to_rgb(style.color) for style in styles.values()]
    assert (
        min(sum((x - y) ** 2 for x, y in zip(a, b, strict=True)) for a, b in combinations(colours, 2)) > 0.02
    )
    assert len({style.marker for style in styles.values()}) == len(names)
    assert series_styles(["obs"])["obs"].color == styles["obs"].color


def test_files_are_complete_and_deterministic(make_summary, tmp_path: Path) -> None:
    table = tmp_path / "summary.csv"
    make_summary(["mini.dino"], sparsities=(0.5, 0.9), criteria=("obd",), batchnorm=("keep",)).to_csv(
        table, index=False
    )
    first = draw_all(table, tmp_path / "one")
    assert [path.name for path in first] == [f"{name}.{kind}" for name in FIGURES for kind in ("png", "svg")]
    assert sorted(first) == sorted((tmp_path / "one").iterdir())
    for name in ("accuracy_zero_shot", "tasks_pruned"):
        for again in save(FIGURES[name].finish(read_summary(table)), tmp_path / "two", name):
            assert again.read_bytes() == (tmp_path / "one" / again.name).read_bytes(), again.name
