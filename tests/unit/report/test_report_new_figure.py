"""A figure is one file and one line: the example of docs/extending.md, as it stands."""

import re
from pathlib import Path

import pytest
from obtransfer.declare import Registry
from obtransfer.report import figures
from obtransfer.report.figures import base

PAGE = Path(__file__).parents[3] / "docs" / "extending.md"
FOLDER = "workflow_scripts/obtransfer/report/figures"


def test_the_example_of_a_figure_is_drawn(
    make_summary, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ((name, code),) = re.findall(
        rf"```python\n# {FOLDER}/(\w+)\.py\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL
    )
    line = re.search(rf'^\+ +"{name}",$', PAGE.read_text("utf-8"), re.MULTILINE)
    assert line
    (tmp_path / f"{name}.py").write_text(code, encoding="utf-8")
    monkeypatch.setattr(figures, "__path__", [*figures.__path__, str(tmp_path)])
    registry = Registry(figures.__name__, "FIGURE", (name,))
    monkeypatch.setattr(base, "FIGURES", registry)
    table = tmp_path / "summary.csv"
    make_summary(["mini.dino"], sparsities=(0.5,), criteria=("obd", "obs")).to_csv(table, index=False)
    files = base.draw_all(table, tmp_path / "out")
    assert [path.name for path in files] == [f"{name}.png", f"{name}.svg"]
    assert sorted(files) == sorted((tmp_path / "out").iterdir())

    figure = registry[name]
    rows = make_summary(["mini.dino"], criteria=())
    assert figure.draw(rows) is None
    assert "no such rows in this run" in figure.finish(rows).texts[0].get_text()
