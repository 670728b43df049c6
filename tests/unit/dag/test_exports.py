"""What the configuration's `export` names, and what is wrong with it."""

import copy
from typing import Any

import pytest
from obtransfer.config.check import check
from obtransfer.dag.exports import targets
from obtransfer.errors import ObtransferError
from project import CONFIG

OBS = "obs/upper/seed_0/global/sparsity_0.9"


def config(**export: Any) -> dict[str, Any]:
    return copy.deepcopy(CONFIG) | ({"export": export} if export else {})


def test_nothing_is_exported_unless_configured() -> None:
    assert targets(config()) == []


def test_one_criterion_and_sparsity() -> None:
    wanted = config(criteria=["obs"], sparsities=[0.90], backbones=["miniresnet.supervised"])
    check(wanted)
    folder = f"exports/miniresnet.supervised/{OBS}"
    assert targets(wanted) == [
        f"{folder}/keep/features",
        f"{folder}/keep/on_upper/seed_0/features",
        f"{folder}/recalibrate_upper/features",
    ]


def test_forms_name_the_source_and_stages_and_batchnorm_choose() -> None:
    wanted = config(
        criteria=["magnitude"], sparsities=[0.5], batchnorm=["keep"], stages=["finetuned"], forms=["zero_shot", "probe"]
    )  # fmt: skip
    check(wanted)
    assert targets(wanted) == [
        f"exports/{backbone}/magnitude/global/sparsity_0.5/keep/on_upper/seed_0/{form}_upper"
        for backbone in ("miniresnet.supervised", "minivit.dino")
        for form in ("probe", "zero_shot")
    ]


def test_the_dense_model_only_when_named() -> None:
    assert not any("/dense/" in path for path in targets(config(batchnorm=["keep"])))
    wanted = config(criteria=["dense"], sparsities=[0.5], backbones=["minivit.dino"])
    check(wanted)
    folder = "exports/minivit.dino/dense/keep"
    assert targets(wanted) == [f"{folder}/features", f"{folder}/on_upper/seed_0/features"]


def test_what_is_not_in_the_grid_is_told_all_at_once() -> None:
    wanted = config(
        criteria=["obs", "px"], sparsities=[0.6], backbones=["resnet50.dino"], seeds=[1], stages=["finetuned"]
    )
    wanted["grid"]["finetune"] = []
    with pytest.raises(ObtransferError) as error:
        check(wanted)
    told = str(error.value)
    assert "5 errors" in told
    for line in (
        "export.criteria[1]: px is not in grid.criteria: magnitude, obd, obs, dense",
        "export.sparsities[0]: 0.6 is not in grid.sparsities: 0.5, 0.9",
        "export.backbones[0]: resnet50.dino is not in grid.backbones",
        "export.seeds[0]: 1 is not in grid.seeds: 0",
        "export.stages: nothing is fine-tuned",
    ):
        assert line in told


@pytest.mark.parametrize(
    "wrong", [{}, None, [0.7], {"sparsities": []}, {"forms": ["logits"]}, {"sparsity": [0.7]}]
)
def test_malformed_exports_are_refused(wrong: Any) -> None:
    with pytest.raises(ObtransferError, match="export"):
        check({**config(), "export": wrong})
