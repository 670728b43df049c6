"""Write the tables of docs/criteria.md: the criteria of the registry and their settings."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from obtransfer.config.describe import meaning, needed
from obtransfer.config.labels import structure_settings
from obtransfer.declare import REQUIRED, Setting
from obtransfer.registry import CRITERIA

PAGE = Path(__file__).resolve().parents[2] / "docs/criteria.md"
BEGIN = "<!-- begin: made by workflow_scripts/tools/criteria_tables.py -->\n"
END = "<!-- end -->\n"


def with_tables(page: str) -> str:
    """The page with new tables between its two marks."""
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}{_table(_criteria())}\n{_table(_settings())}\n{END}{after}"


def _table(rows: Iterator[tuple[str, ...]]) -> str:
    head, *body = ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |\n" for row in rows]
    return head + "|---" * (head.count(" | ") + 1) + "|\n" + "".join(body)


def _criteria() -> Iterator[tuple[str, ...]]:
    yield "criterion", "name", "score (higher = keep)", "reads", "settings"
    for name, criterion in CRITERIA.items():
        formula = (criterion.score.__doc__ or "").partition("\n")[0].rstrip(".").rpartition(": ")[2]
        reads = "nothing" if criterion.needs == "none" else f"`{criterion.needs}`"
        reads += f" of `{criterion.estimator}`" if criterion.estimator else ""
        reads += "" if criterion.attention else "; no attention"
        settings = ", ".join(f"`{setting}`" for setting in _settings_of(name))
        yield f"`{name}`", criterion.title, formula, reads, settings


def _settings_of(name: str) -> dict[str, Setting]:
    return {**structure_settings(name), **CRITERIA[name].settings}


def _settings() -> Iterator[tuple[str, ...]]:
    yield "setting", "of", "value", "default", "meaning"
    readers: dict[tuple[str, ...], list[str]] = {}
    for name in CRITERIA:
        for key, setting in _settings_of(name).items():
            given = setting.default is not REQUIRED
            default = f"`{json.dumps(setting.default)}`".replace('"', "") if given else "required"
            entry = key, needed(setting.annotation), default, meaning(setting.annotation)
            readers.setdefault(entry, []).append(f"`{name}`")
    for (key, value, default, said), names in sorted(readers.items(), key=lambda reader: reader[0][0]):
        yield f"`{key}`", ", ".join(names), value, default, said


if __name__ == "__main__":
    PAGE.write_text(with_tables(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
