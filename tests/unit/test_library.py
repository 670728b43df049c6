"""The library without the workflow: its public names, the examples of docs/library.md, and its installation."""

from __future__ import annotations

import math
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import obtransfer
import pytest
import torch
from obtransfer import ObtransferError, make_mask, score_weights
from obtransfer.registry import ALLOCATIONS, CRITERIA
from torch import nn

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "library.md").read_text("utf-8")
EXAMPLES = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)


def run(code: str, path: Path) -> None:
    """In a process of its own that finds the library in `path`, and neither Snakemake nor pydantic anywhere."""
    hidden = "import sys\nsys.modules.update(dict.fromkeys(('snakemake', 'pydantic')))\n"
    done = subprocess.run(
        [sys.executable, "-c", hidden + code],
        env={"PYTHONPATH": str(path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_every_public_name_is_documented_and_importing_stays_light() -> None:
    for name in obtransfer.__all__:
        assert getattr(obtransfer, name).__doc__ and f"`{name}`" in PAGE
    run(
        "import obtransfer\nassert set(obtransfer.__all__) <= set(dir(obtransfer))\n"
        "assert not {'torch', 'numpy', 'timm'} & sys.modules.keys()\n",
        ROOT / "workflow_scripts",
    )
    with pytest.raises(AttributeError, match="no attribute 'scores'"):
        obtransfer.scores  # noqa: B018


def test_the_examples_do_what_the_page_says() -> None:
    assert len(EXAMPLES) == 6 and all(example.count("\n") <= 15 for example in EXAMPLES)
    found: dict[str, Any] = {}
    for example in EXAMPLES:
        exec(example, found)  # noqa: S102
    assert found["blocks"]["0.weight"].shape == (math.ceil(8 * 27 / 8), 8, 8)
    for model, mask, sparsity in (
        ("model", "mask", "0.9"),
        ("backbone", "sparse", "0.9"),
        (None, "own_mask", "0.5"),
    ):
        made = found[mask]
        assert made.num_removed == int(made.num_weights * float(sparsity))
        for name, kept in made.kept.items() if model else ():
            weight = found[model].get_parameter(name)
            np.testing.assert_array_equal(weight.detach().numpy() != 0, kept)
    for name, kept in found["sparse"].kept.items():
        h, weight = found["sampled"][name], found["backbone"].get_parameter(name)
        expected = (0.5 * (h + 0.1 * h.mean()) * weight.detach() ** 2).numpy()
        np.testing.assert_allclose(found["scores"][name][kept], expected[kept], rtol=1e-4)


def test_the_table_names_what_every_criterion_reads() -> None:
    rows = dict(re.findall(r"^\| (`\w+`.*?) \| (.*?) \|$", PAGE, re.MULTILINE))
    table = {name: cell for names, cell in rows.items() for name in re.findall(r"`(\w+)`", names)}
    assert table.keys() == set(CRITERIA)
    for name, criterion in CRITERIA.items():
        words = {re.sub(r"\d+$", "", word) for word in re.findall(r"`(\w+)`", table[name])} or {"none"}
        assert criterion.needs in words and criterion.estimator in {*words, ""}, name
    assert all(f"`{name}`" in PAGE for name in ALLOCATIONS)


def test_what_does_not_fit_is_named() -> None:
    model = nn.Linear(3, 2)
    for arguments, settings, message in [
        (("obt",), {}, "needed the name of a criterion; got 'obt'; there are: magnitude, obd"),
        (("obd",), {"lambda_": 1}, "got no damping, the unknown lambda_; its settings: damping, "),
        (("obd",), {"damping": 0.1}, "weight: missing"),
        (("obd", {"0.weight": torch.ones(2, 3)}), {"damping": 0.1}, "got 0.weight; pass the model"),
        (("magnitude",), {"parameters": ["bias"]}, "got bias; pass the model"),
    ]:
        with pytest.raises(ObtransferError, match=re.escape(message)):
            score_weights(model, *arguments, **settings)
    with pytest.raises(ObtransferError, match="needed the name of an allocation; got 'best'"):
        make_mask(score_weights(model, "magnitude"), 0.5, "best")


def test_weights_may_be_chosen_and_of_any_precision() -> None:
    model = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2)).to(torch.bfloat16)
    scores = score_weights(model, "magnitude", parameters=["1.weight"])
    assert list(scores) == ["1.weight"]
    np.testing.assert_allclose(scores["1.weight"], 0.5 * model[1].weight.detach().double().numpy() ** 2)
    with pytest.raises(ObtransferError, match=r"0\.weight: missing from the mask"):
        obtransfer.apply_mask(model, make_mask(scores, 0.5))
    obtransfer.apply_mask(model, make_mask(scores, 0.5), complete=False)
    assert int((model[1].weight == 0).sum()) == 4 and bool(model[0].weight.all())
    first, again, other = (score_weights(model, "random", seed=seed)["0.weight"] for seed in (1, 1, 2))
    assert np.array_equal(first, again) and not np.array_equal(first, other)


@pytest.mark.slow
def test_an_installed_library_runs_the_examples(tmp_path: Path) -> None:
    """From a copy, since building leaves files in the source tree; without a network."""
    source, target = tmp_path / "source", tmp_path / "installed"
    shutil.copytree(
        ROOT / "workflow_scripts",
        source / "workflow_scripts",
        ignore=shutil.ignore_patterns("__pycache__", ".*"),
    )
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    uv = ROOT / ".venv/uv/bin/uv"
    subprocess.run(
        [uv if uv.exists() else "uv", "pip", "install", "--quiet", "--offline", "--no-deps", "--no-build-isolation",
         "--python", sys.executable, "--target", target, source],
        check=True,
    )  # fmt: skip
    assert not (target / "snakemake_executor_plugin_submitit").exists()
    files = {path.relative_to(target) for path in (target / "obtransfer").rglob("*.*")}
    wanted = {
        path.relative_to(source / "workflow_scripts")
        for path in source.glob("workflow_scripts/obtransfer/**/*.*")
    }
    assert wanted <= files
    found = f"assert obtransfer.__file__.startswith({str(target)!r})\n"
    run("import obtransfer\n" + found + "\n".join(EXAMPLES), target)
