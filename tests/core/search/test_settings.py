"""The settings of every method: what users see of them, and that files and the documentation agree with them."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from pydantic import ValidationError

from circuit_tui.core.errors import UserError
from circuit_tui.core.search.methods.settings import MaskSettings, PublishedSettings
from circuit_tui.core.search.registry import METHODS, load_class
from circuit_tui.core.search.spec import SearchSpec


@pytest.mark.parametrize("name", METHODS)
def test_every_setting_is_described_and_every_number_bounded(name: str) -> None:
    info = METHODS[name]
    for setting, field in zip(info.settings, info.settings_class.model_fields.values(), strict=True):
        assert setting.help
        assert isinstance(setting.default, bool) or any(hasattr(bound, "ge") for bound in field.metadata)


@pytest.mark.parametrize("name", METHODS)
def test_a_method_reads_the_settings_that_the_registry_names(name: str) -> None:
    """The type argument of its base class is the class of its settings."""
    info = METHODS[name]
    (base,) = load_class(info.method_path).__orig_bases__
    assert base.__args__ == (info.settings_class,)


@pytest.mark.parametrize("name", METHODS)
def test_settings_survive_json(name: str) -> None:
    spec = SearchSpec(name, 0.9, 1).complete()
    again = SearchSpec(**json.loads(json.dumps(spec.data())))
    assert again == spec == again.complete()
    assert again.parsed_settings() == METHODS[name].settings_class()


@pytest.mark.parametrize("name", METHODS)
def test_quick_settings_are_settings_and_not_the_defaults(name: str) -> None:
    info = METHODS[name]
    defaults, quick = {setting.name: setting.default for setting in info.settings}, info.settings_class.quick
    assert all(key in defaults and value != defaults[key] for key, value in quick.items())
    assert SearchSpec(name, 0.9, 0).quick().settings == defaults | dict(quick)


def test_a_setting_has_one_name() -> None:
    """``lambda`` is a word of Python, so the field is called otherwise; no file and no flag has that name."""
    assert PublishedSettings.parse("published", {"lambda": 2}).penalty == 2.0
    assert "lambda" in PublishedSettings().values()
    with pytest.raises(UserError, match="--set penalty: method published has no such setting; it has: lambda, "):
        PublishedSettings.parse("published", {"penalty": 2})


def test_settings_cannot_be_changed() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        MaskSettings().steps = 3  # type: ignore[misc]


def test_the_documentation_names_every_setting_with_its_default(root: Path) -> None:
    text = (root / "docs" / "methods.md").read_text().split("\n## ")[0]
    rows = [line.strip("| ").split(" | ") for line in text.splitlines() if line.startswith("| `")]
    documented = {row[0].split("`")[1]: re.findall(r"`(\w+)` ([\w.]+)", row[-1]) for row in rows}
    assert documented.keys() == METHODS.keys()
    for name, info in METHODS.items():
        assert documented[name] == [(setting.name, str(setting.default).lower()) for setting in info.settings], name
