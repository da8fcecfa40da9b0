"""The form that picks what to open."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from textual.widgets import Input, Select, Static
from waiting import opens, wait_for

from circuit_tui.core.opening.request import OpenRequest
from circuit_tui.core.saes.catalogue import ReleaseSummary, catalogue, releases_for
from circuit_tui.core.saes.registry import releases, saes_of, width_text
from circuit_tui.core.saes.sae_filter import SiteFlags, parse_width
from circuit_tui.tui.commands.explore import needs_picking
from circuit_tui.tui.picker import PickerApp
from circuit_tui.tui.screens.choose_file import ChooseFile, FileTree
from circuit_tui.tui.screens.open_form import CHAT, DEMO, OTHER
from circuit_tui.tui.widgets.form_fields import PathSuggester

SIZE = (80, 30)


@pytest.fixture(scope="module")
def summaries() -> tuple[ReleaseSummary, ...]:
    return catalogue()


@pytest.fixture
def picker(
    summaries: tuple[ReleaseSummary, ...], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Callable[..., PickerApp]:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    return lambda **fields: PickerApp(OpenRequest(**fields), read=lambda: summaries)


def said(app: PickerApp) -> str:
    return str(app.query_one("#status", Static).render())


def offered(app: PickerApp) -> list[str]:
    return [str(value) for _, value in app.query_one("#release", Select)._options if isinstance(value, str)]


async def says(pilot: Any, text: str) -> None:
    await wait_for(pilot, lambda: text in said(pilot.app))


async def read(pilot: Any) -> None:
    await wait_for(pilot, lambda: pilot.app.screen._releases is not None)


def test_the_catalogue_knows_a_model_by_any_of_its_names(summaries: tuple[ReleaseSummary, ...]) -> None:
    by_name = {one.name: one for one in summaries}
    nine = by_name["gemma-scope-9b-pt-res-canonical"]
    assert (nine.site, nine.layers, nine.model) == ("hook_resid_post", "0-41", "gemma-2-9b")
    assert 16384 in nine.widths
    for name in ("gemma-2-9b", "google/gemma-2-9b"):
        assert releases_for(name, summaries)[0] is nine
        assert all(one.model == "gemma-2-9b" for one in releases_for(name, summaries))
    own = [one.name for one in releases_for("Qwen/Qwen3-8B-Base", summaries)]
    assert own == ["qwen-scope-3-8b-base-w64k-l50", "qwen-scope-3-8b-base-w64k-l100"]
    sites = [one.site.startswith("hook_resid") for one in releases_for("gpt2", summaries)]
    assert sites == sorted(sites, reverse=True)
    assert releases_for("somebody/model", summaries) == ()


async def test_nothing_changed_opens_the_demo(picker: Callable[..., PickerApp]) -> None:
    app = picker(seed=3)
    async with app.run_test(size=SIZE) as pilot:
        await read(pilot)
        await says(pilot, "nothing to download")
        await pilot.press("ctrl+o")
    assert app.return_value == OpenRequest(task="sva-rc", seed=3)


async def test_a_model_brings_its_releases_and_defaults(picker: Callable[..., PickerApp]) -> None:
    app = picker()
    async with app.run_test(size=SIZE) as pilot:
        await read(pilot)
        app.query_one("#model", Select).value = "gemma-2-2b"
        await wait_for(pilot, lambda: offered(app)[:1] == ["gemma-scope-2b-pt-res-canonical"])
        assert app.query_one("#layers", Input).value == "4,8,13,24"
        await says(pilot, "4 SAEs (4 to fetch, ~1.2 GB)")
        await says(pilot, "layer_24/width_16k/canonical")
        app.query_one("#layers", Input).value = "0-2"
        app.query_one("#width", Input).value = "65k"
        app.query_one("#task", Select).value = "ioi"
        await says(pilot, "3 SAEs (3 to fetch, ~3.6 GB)")
        await pilot.press("ctrl+o")
    assert app.return_value == OpenRequest(
        model="gemma-2-2b",
        saes=("gemma-scope-2b-pt-res-canonical",),
        site_flags=SiteFlags("0-2", None, "65k", None),
        task="ioi",
    )


async def test_bad_choices_are_reported_and_nothing_opens(picker: Callable[..., PickerApp], tmp_path: Path) -> None:
    app = picker(model="gpt2")
    async with app.run_test(size=SIZE) as pilot:
        await read(pilot)
        app.query_one("#layers", Input).value = "77"
        await says(pilot, "gpt2-small-res-jb has no SAE at layer 77; it has layers 0-11")
        await pilot.press("ctrl+o")
        assert app.is_running
        app.query_one("#layers", Input).value = "3"
        app.query_one("#prompts", Input).value = str(tmp_path / "no.jsonl")
        await pilot.pause()
        await pilot.press("ctrl+o")
        await says(pilot, "no.jsonl: no such file")
        (tmp_path / "no.jsonl").write_text(
            "".join(
                json.dumps({"clean": f"a{n}", "corrupt": f"b{n}", "answer": " c", "wrong": " d"}) + "\n"
                for n in (1, 2, 3)
            )
        )
        await pilot.press("ctrl+o")
    assert app.return_value is not None
    assert (app.return_value.prompts, app.return_value.task) == (tmp_path / "no.jsonl", None)


async def test_a_model_of_another_name(picker: Callable[..., PickerApp]) -> None:
    app = picker(model="Qwen/Qwen3-8B-Base", task="ioi")
    async with app.run_test(size=SIZE) as pilot:
        await read(pilot)
        assert app.query_one("#model", Select).value == OTHER
        assert offered(app)[0] == "qwen-scope-3-8b-base-w64k-l50"
        await says(pilot, "which of its 36 SAEs?")
        app.query_one("#layers", Input).value = "5,9"
        app.query_one("#other", Input).value = "somebody/model"
        await wait_for(pilot, lambda: offered(app) == [])
        await pilot.press("ctrl+o")
        await says(pilot, "somebody/model: sae-lens knows no SAEs for it; name folders of SAEs")
        app.query_one("#model", Select).value = DEMO
        await pilot.pause()
        await pilot.press("escape")
    assert app.return_value is None


async def test_while_the_registry_is_read_the_form_works() -> None:
    import threading

    gate = threading.Event()

    def slow() -> tuple[ReleaseSummary, ...]:
        gate.wait(60)
        raise OSError("no registry")

    app = PickerApp(OpenRequest(model="gpt2"), read=slow)
    async with app.run_test(size=SIZE) as pilot:
        await says(pilot, "Reading sae-lens' registry")
        await pilot.press("ctrl+o")
        await says(pilot, "still being read")
        gate.set()
        await read(pilot)
        await says(pilot, "cannot be read: no registry")
        await pilot.press("escape")


async def test_saes_from_folders_and_prompts_for_a_chat_model(picker: Callable[..., PickerApp], tmp_path: Path) -> None:
    app = picker()
    async with app.run_test(size=SIZE) as pilot:
        await read(pilot)
        assert app.query_one("#folders", Input).disabled
        app.query_one("#model", Select).value = OTHER
        app.query_one("#other", Input).value = str(tmp_path)
        app.query_one("#folders", Input).value = f"{tmp_path / 'a'}, {tmp_path / 'b'}"
        app.query_one("#chat", Select).value = CHAT
        await says(pilot, "2 SAEs from folders")
        await pilot.press("ctrl+o")
        await says(pilot, f"{tmp_path / 'a'}: no folder of an SAE")
        for name in "ab":
            (tmp_path / name).mkdir()
            (tmp_path / name / "cfg.json").write_text("{}")
        await pilot.press("ctrl+o")
    assert app.return_value == OpenRequest(
        model=str(tmp_path), sae_dirs=(tmp_path / "a", tmp_path / "b"), task="sva-rc", chat=True
    )


async def test_a_prompts_file_from_the_folders(
    picker: Callable[..., PickerApp], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "sets").mkdir()
    (tmp_path / "sets" / "mine.jsonl").write_text("")
    (tmp_path / "notes.txt").write_text("")
    (tmp_path / ".hidden").mkdir()
    monkeypatch.chdir(tmp_path)
    app = picker()
    async with app.run_test(size=SIZE) as pilot:
        await read(pilot)
        await opens(pilot, ChooseFile, "ctrl+f")
        tree = app.screen.query_one(FileTree)
        await wait_for(pilot, lambda: bool(tree.root.children))
        assert [str(node.label) for node in tree.root.children] == ["sets"]
        await pilot.press("down", "enter")
        await wait_for(pilot, lambda: bool(tree.root.children[0].children))
        await pilot.press("left")
        await wait_for(pilot, lambda: str(tree.path) == str(tmp_path.parent))
        await pilot.press("escape")
        await wait_for(pilot, lambda: not isinstance(app.screen, ChooseFile))
        await opens(pilot, ChooseFile, "ctrl+f")
        tree = app.screen.query_one(FileTree)
        await wait_for(pilot, lambda: bool(tree.root.children))
        tree.move_cursor(tree.root.children[0])
        await pilot.press("enter")
        await wait_for(pilot, lambda: bool(tree.root.children[0].children))
        tree.move_cursor(tree.root.children[0].children[0])
        await pilot.press("enter")
        await wait_for(pilot, lambda: not isinstance(app.screen, ChooseFile))
        assert app.query_one("#prompts", Input).value == "sets/mine.jsonl"
        await pilot.press("escape")


async def test_a_path_completes_itself(tmp_path: Path) -> None:
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "tiny.json").write_text("")
    suggest = PathSuggester().get_suggestion
    assert await suggest(f"{tmp_path}/mo") == f"{tmp_path}/models/"
    assert await suggest(f"one,{tmp_path}/models/t") == f"one,{tmp_path}/models/tiny.json"
    assert [await suggest(text) for text in ("", f"{tmp_path}/", f"{tmp_path}/x", "/no/such")] == [None] * 4


def test_widths_as_they_are_typed() -> None:
    widths = {sae.width for release in releases() for sae in saes_of(release) if sae.width}
    assert all(parse_width(width_text(width)) == width for width in widths)
    assert [width_text(width) for width in (1000, 16384, 65536, 81920, 2**20)] == ["1000", "16k", "65k", "80k", "1m"]


@pytest.mark.parametrize("size", [(80, 24), (160, 50)], ids=["narrow", "wide"])
def test_the_form(snap_compare: Any, picker: Callable[..., PickerApp], size: tuple[int, int]) -> None:
    async def run(pilot: Any) -> None:
        await read(pilot)
        await says(pilot, "4 SAEs (4 to fetch")

    assert snap_compare(picker(model="gemma-2-2b"), terminal_size=size, run_before=run)


def test_when_the_lists_open_by_themselves(tmp_path: Path) -> None:
    assert needs_picking(OpenRequest(model="somebody/model", task="ioi"))
    assert needs_picking(OpenRequest(model="somebody/model", sae_dirs=(tmp_path,)))
    assert not needs_picking(OpenRequest(model="somebody/model", sae_dirs=(tmp_path,), task="ioi"))
    assert not needs_picking(OpenRequest(model="gemma-2-2b"))
    assert not needs_picking(OpenRequest())
    assert not needs_picking(OpenRequest(model="x", circuit=tmp_path))
