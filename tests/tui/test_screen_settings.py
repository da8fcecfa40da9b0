"""What is remembered of the screen: columns and splits, in a file that may be missing, broken or read-only."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fake_session import FakeSession, opener
from hypothesis import given
from hypothesis import strategies as st
from waiting import ready, screen_text, wait_for

from circuit_tui.core.errors import UserError
from circuit_tui.core.opening.request import OpenRequest
from circuit_tui.tui.app import ExplorerApp
from circuit_tui.tui.explorer_options import ExplorerOptions
from circuit_tui.tui.screen_settings import ScreenSettings, load_settings, save_settings, settings_path

Make = Callable[[], ExplorerApp]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "config" / "explorer.json"


@pytest.fixture
def start(path: Path) -> Make:
    session = FakeSession(latents=6)
    return lambda: ExplorerApp(OpenRequest(), ExplorerOptions(), opener=opener(session), settings=path)


def notices(app: ExplorerApp) -> list[str]:
    return [notice.message for notice in app._notifications]


async def test_columns_and_splits_are_as_they_were_left(start: Make, path: Path) -> None:
    app = start()
    async with app.run_test(size=(160, 50)) as pilot:
        await ready(pilot)
        assert " diff " in screen_text(app)
        await pilot.press("C", *"jjjjjj", "space")
        await pilot.press("escape", "]")
        width = app.main.query_one("#circuit").region.width
        assert " diff " not in screen_text(app)
    assert json.loads(path.read_text()) == {"columns": {"diff": False}, "split": [50, 62]}
    app = start()
    async with app.run_test(size=(160, 50)) as pilot:
        await ready(pilot)
        assert " diff " not in screen_text(app)
        assert app.main.query_one("#circuit").region.width == width
        await pilot.press("C", *"jjjjjj", "space")
        assert " diff " in screen_text(app)


async def test_the_column_that_sorts_is_hidden(start: Make) -> None:
    app = start()
    async with app.run_test(size=(160, 50)) as pilot:
        await ready(pilot)
        await pilot.press(".", ".")
        assert app.main.panes.circuit.table.model.sort == "label"  # type: ignore[union-attr]
        await pilot.press("C", "j")
        await pilot.click("#column-list", offset=(3, 1))
        assert app.main.panes.circuit.table.model.sort == "latent"  # type: ignore[union-attr]
        assert "label▲" not in screen_text(app)


async def test_the_dialog_says_for_which_columns_there_is_no_room(start: Make) -> None:
    app = start()
    async with app.run_test(size=(120, 36)) as pilot:
        await ready(pilot)
        await pilot.press("C")
        text = screen_text(app).splitlines()
        line = {
            name: next(line for line in text if f"● {name} " in line.replace("  ", " ")) for name in ("max", "label")
        }
        assert "(no room)" in line["max"]
        assert "(no room)" not in line["label"]


@pytest.mark.parametrize("content", ["{", "[1]", '{"split": [50]}', '{"columns": {"max": 1}}', '{"split": [0, 5]}', ""])
async def test_a_broken_file_is_told_and_left_alone(start: Make, path: Path, content: str) -> None:
    path.parent.mkdir()
    path.write_text(content)
    app = start()
    async with app.run_test(size=(120, 36)) as pilot:
        await ready(pilot)
        await wait_for(pilot, lambda: any(str(path) in text for text in notices(app)))
        await pilot.press("]")
    assert path.read_text() == content


async def test_a_folder_that_takes_no_file_costs_one_line(start: Make, path: Path) -> None:
    path.parent.write_text("not a folder")
    app = start()
    async with app.run_test(size=(120, 36)) as pilot:
        await ready(pilot)
        await pilot.press("]", "]")
        await wait_for(pilot, lambda: len(notices(app)) == 1)
        assert "will not be remembered" in notices(app)[0]


SETTINGS = st.builds(ScreenSettings, st.dictionaries(st.text(), st.booleans()), st.tuples(*[st.integers(1, 99)] * 2))
JSON = st.recursive(
    st.none() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(["columns", "split", "x"]), inner),
)


@given(settings=SETTINGS)
def test_what_is_saved_is_loaded(settings: ScreenSettings, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("settings") / "folder" / "explorer.json"
    save_settings(settings, path)
    assert load_settings(path) == settings


@given(data=JSON)
def test_any_json_is_settings_or_one_line(data: Any, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("settings") / "explorer.json"
    path.write_text(json.dumps(data))
    line = f"{path}: no complaint"
    try:
        load_settings(path)
    except UserError as error:
        line = str(error)
    assert line.startswith(f"{path}: ")
    assert "\n" not in line


def test_the_file_is_in_the_users_configuration_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    assert settings_path().is_relative_to(tmp_path)
