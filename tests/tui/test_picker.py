"""The lists that choose what to open."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from textual.widgets import Input, Select, Static
from waiting import wait_for

from circuit_tui.core.catalogue import ReleaseFacts, catalogue, releases_for
from circuit_tui.core.request import OpenRequest
from circuit_tui.core.sae_choice import SiteFlags
from circuit_tui.tui.commands.explore import needs_picking
from circuit_tui.tui.picker import DEMO, OTHER, PickerApp

SIZE = (80, 30)


@pytest.fixture(scope="module")
def facts() -> tuple[ReleaseFacts, ...]:
    return catalogue()


@pytest.fixture
def picker(
    facts: tuple[ReleaseFacts, ...], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Callable[..., PickerApp]:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    return lambda **fields: PickerApp(OpenRequest(**fields), read=lambda: facts)


def said(app: PickerApp) -> str:
    return str(app.query_one("#said", Static).render())


def offered(app: PickerApp) -> list[str]:
    return [str(value) for _, value in app.query_one("#release", Select)._options if isinstance(value, str)]


async def read(pilot: Any) -> None:
    await wait_for(pilot, lambda: pilot.app._facts is not None)
    await pilot.pause()


def test_the_catalogue_knows_a_model_by_any_of_its_names(facts: tuple[ReleaseFacts, ...]) -> None:
    by_name = {one.name: one for one in facts}
    nine = by_name["gemma-scope-9b-pt-res-canonical"]
    assert (nine.site, nine.layers, nine.model) == ("hook_resid_post", "0-41", "gemma-2-9b")
    assert 16384 in nine.widths
    for name in ("gemma-2-9b", "google/gemma-2-9b"):
        assert releases_for(name, facts)[0] is nine
        assert all(one.model == "gemma-2-9b" for one in releases_for(name, facts))
    own = [one.name for one in releases_for("Qwen/Qwen3-8B-Base", facts)]
    assert own == ["qwen-scope-3-8b-base-w64k-l50", "qwen-scope-3-8b-base-w64k-l100"]
    sites = [one.site.startswith("hook_resid") for one in releases_for("gpt2", facts)]
    assert sites == sorted(sites, reverse=True)
    assert releases_for("somebody/model", facts) == ()


async def test_nothing_changed_opens_the_demo(picker: Callable[..., PickerApp]) -> None:
    app = picker(seed=3)
    async with app.run_test(size=SIZE) as pilot:
        await read(pilot)
        assert "no download" in said(app)
        await pilot.press("ctrl+o")
    assert app.return_value == OpenRequest(task="sva-rc", seed=3)


async def test_a_model_brings_its_releases_and_defaults(picker: Callable[..., PickerApp]) -> None:
    app = picker()
    async with app.run_test(size=SIZE) as pilot:
        await read(pilot)
        app.query_one("#model", Select).value = "gemma-2-2b"
        await pilot.pause()
        assert offered(app)[0] == "gemma-scope-2b-pt-res-canonical"
        assert app.query_one("#layers", Input).value == "4,8,13,24"
        assert "4 SAEs (4 to fetch, ~1.2 GB)" in said(app)
        assert "layer_24/width_16k/canonical" in said(app)
        app.query_one("#layers", Input).value = "0-2"
        app.query_one("#width", Input).value = "65k"
        app.query_one("#task", Select).value = "ioi"
        await pilot.pause()
        assert "3 SAEs (3 to fetch, ~3.6 GB)" in said(app)
        await pilot.press("ctrl+o")
    assert app.return_value == OpenRequest(
        model="gemma-2-2b",
        saes=("gemma-scope-2b-pt-res-canonical",),
        site_flags=SiteFlags("0-2", None, "65k", None),
        task="ioi",
    )


async def test_what_makes_no_sense_is_said_and_nothing_opens(picker: Callable[..., PickerApp], tmp_path: Path) -> None:
    app = picker(model="gpt2")
    async with app.run_test(size=SIZE) as pilot:
        await read(pilot)
        app.query_one("#layers", Input).value = "77"
        await pilot.pause()
        assert "gpt2-small-res-jb has no SAE at layer 77; it has layers 0-11" in said(app)
        await pilot.press("ctrl+o")
        assert app.is_running
        app.query_one("#layers", Input).value = "3"
        app.query_one("#prompts", Input).value = str(tmp_path / "no.jsonl")
        await pilot.pause()
        await pilot.press("ctrl+o")
        await pilot.pause()
        assert "no.jsonl: no such file" in said(app)
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
        assert "which of its 36 SAEs?" in said(app)
        app.query_one("#layers", Input).value = "5,9"
        app.query_one("#other", Input).value = "somebody/model"
        await pilot.pause()
        assert offered(app) == []
        await pilot.press("ctrl+o")
        await pilot.pause()
        assert "sae-lens knows no SAEs for it; start with --model somebody/model --sae-dir DIR" in said(app)
        app.query_one("#model", Select).value = DEMO
        await pilot.pause()
        await pilot.press("escape")
    assert app.return_value is None


async def test_while_the_registry_is_read_the_form_works() -> None:
    import threading

    gate = threading.Event()

    def slow() -> tuple[ReleaseFacts, ...]:
        gate.wait(10)
        raise OSError("no registry")

    app = PickerApp(OpenRequest(model="gpt2"), read=slow)
    async with app.run_test(size=SIZE) as pilot:
        await pilot.pause()
        assert "Reading sae-lens' registry" in said(app)
        await pilot.press("ctrl+o")
        await pilot.pause()
        assert "still being read" in said(app)
        gate.set()
        await read(pilot)
        assert "cannot be read: no registry" in said(app)
        await pilot.press("escape")


def test_when_the_lists_open_by_themselves(tmp_path: Path) -> None:
    assert needs_picking(OpenRequest(model="somebody/model", task="ioi"))
    assert needs_picking(OpenRequest(model="somebody/model", sae_dirs=(tmp_path,)))
    assert not needs_picking(OpenRequest(model="somebody/model", sae_dirs=(tmp_path,), task="ioi"))
    assert not needs_picking(OpenRequest(model="gemma-2-2b"))
    assert not needs_picking(OpenRequest())
    assert not needs_picking(OpenRequest(model="x", circuit=tmp_path))
