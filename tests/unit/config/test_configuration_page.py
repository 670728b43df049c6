"""docs/configuration.md is made from the declarations."""

from __future__ import annotations

import make_configuration_page
from obtransfer.registry import CRITERIA, ESTIMATORS


def test_the_page_is_that_of_the_declared_settings() -> None:
    written = make_configuration_page.PAGE.read_text(encoding="utf-8")
    assert written == make_configuration_page.page(), (
        "run python workflow_scripts/tools/make_configuration_page.py"
    )


def test_the_page_has_every_extension_and_its_settings() -> None:
    text = make_configuration_page.page()
    for name, criterion in CRITERIA.items():
        assert f"`criterion: {name}`" in text
        assert all(f"| `{key}` |" in text for key in criterion.settings)
    for estimator in ESTIMATORS.values():
        assert all(f"| `curvature.{key}` |" in text for key in estimator.settings)
