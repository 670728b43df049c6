"""The command that trains the shipped backbones."""

from pathlib import Path

import pretrain
import pytest
from obtransfer.pretrain import recipes, run


def test_without_names_it_trains_all(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = []

    def pretend(name: str, **options: object) -> float:
        asked.append((name, options["output"], options["seed"]))
        return 0.987

    monkeypatch.setattr(run, "pretrain", pretend)
    assert pretrain.main(["--seed", "4"]) == 0
    assert asked == [(name, Path("resources/pretrained"), 4) for name in recipes.RECIPES]
    assert "miniresnet.dino: 98.7% on the ten tasks" in capsys.readouterr().out


def test_unknown_name_is_an_error_that_lists_the_others(capsys: pytest.CaptureFixture[str]) -> None:
    assert pretrain.main(["miniresnet.simclr"]) == 1
    assert "'miniresnet.simclr'; choose among miniresnet.supervised" in capsys.readouterr().err
