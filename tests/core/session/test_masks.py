"""Published mask files, written and read: they hold the latents of each hook, at every position where they fire."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny.models_with_saes import TinyModel
from tiny.sessions import request, write_prompts
from tiny.solvable_task import solvable_task

from circuit_tui.core.circuits.circuit_file import read_circuit
from circuit_tui.core.circuits.mask_file import is_mask_file
from circuit_tui.core.errors import UserError
from circuit_tui.core.opening.request import OpenRequest
from circuit_tui.core.session.session import Session, open_session
from circuit_tui.tui.cli import main

HOOKS = ("blocks.0.hook_resid_pre", "blocks.1.hook_resid_post")


@pytest.fixture(scope="module")
def opened(tiny_model: Callable[[str], TinyModel], tmp_path_factory: pytest.TempPathFactory) -> OpenRequest:
    path = tmp_path_factory.mktemp("masks") / "able.jsonl"
    return request(
        tiny_model("gpt2"), write_prompts(solvable_task(tiny_model("gpt2"), (6,) * 9, (6,) * 5), path), positions="each"
    )


@pytest.fixture(scope="module")
def session(opened: OpenRequest) -> Session:
    return open_session(opened)


def put(path: Path, content: Any) -> Path:
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def kept(session: Session) -> dict[tuple[int, int], set[int]]:
    """Returns the positions of each kept (site, latent)."""
    table, found = session.table, {}
    for node in session.kept.nonzero()[:, 0].tolist():
        found.setdefault((table.site[node], table.latent[node]), set()).add(table.position[node])
    return found


def candidates(session: Session) -> dict[tuple[int, int], set[int]]:
    table = session.table
    found: dict[tuple[int, int], set[int]] = {}
    for site, latent, position in zip(table.site, table.latent, table.position, strict=True):
        found.setdefault((site, latent), set()).add(position)
    return found


def test_a_latent_is_kept_at_every_position_where_it_fires(
    session: Session, opened: OpenRequest, tmp_path: Path
) -> None:
    every = candidates(session)
    wanted = {0: sorted(latent for site, latent in every if site == 0)[:3], 1: [max(key[1] for key in every if key[0])]}
    site, silent = next((site, latent) for site in (0, 1) for latent in range(24) if (site, latent) not in every)
    listed = {HOOKS[at]: [*wanted[at], silent] if at == site else wanted[at] for at in (0, 1)}
    numbers = {"total_density": 5, "avg_density": 2.5, "ce_loss": 1.0, "logit_diff": 2.0, "faithfulness": 0.5}
    path = put(tmp_path / "m.json", {**listed, **numbers})
    again = open_session(OpenRequest(**{**_fields(opened), "circuit": path}))
    assert kept(again) == {(site, latent): every[site, latent] for site in wanted for latent in wanted[site]}
    file = read_circuit(again.export(tmp_path / "c.json"))
    assert file.method.name == "imported"
    assert "names latents, not positions" in file.method.warnings[0]
    assert "1 of the 5 latents of m.json never fire on this task" in file.method.warnings[1]
    assert not again.view().dirty


def test_what_is_written_is_read_back(session: Session, tmp_path: Path) -> None:
    every = candidates(session)
    chosen = sorted(every)[::5]
    session.only({n for n in range(len(session.table)) if (session.table.site[n], session.table.latent[n]) in chosen})
    before = session.kept.clone()
    path = session.export(tmp_path / "out.masks.json")
    assert is_mask_file(path)
    data = json.loads(path.read_text())
    assert {(site, latent) for site, hook in enumerate(HOOKS) for latent in data[hook]} == set(chosen)
    test = session.view().test
    assert data["total_density"] == len(chosen)
    assert data["avg_density"] == len(chosen) / 2
    assert (data["logit_diff"], data["ce_loss"]) == (test.logit_diff, test.cross_entropy)
    assert data["faithfulness"] == test.faithfulness_spliced
    session.only(())
    session.open_circuit(path)
    assert bool((session.kept == before).all())
    session.undo()
    assert session.view().size == 0


@settings(max_examples=12, deadline=None)
@given(data=st.data())
def test_whatever_is_written_is_read_back(
    session: Session, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    """Masks hold whole latents, a circuit file single nodes; either may hold none."""
    folder, table = tmp_path_factory.mktemp("written"), session.table
    latents = data.draw(st.sets(st.sampled_from(sorted(candidates(session)))))
    whole = {n for n in range(len(table)) if (table.site[n], table.latent[n]) in latents}
    nodes = data.draw(st.sets(st.integers(0, len(table) - 1)))
    for chosen, name in ((whole, "out.masks.json"), (nodes, "out.json")):
        session.only(chosen)
        path = session.export(folder / name)
        session.only(set(range(len(table))) - chosen)
        session.open_circuit(path)
        assert set(session.kept.nonzero()[:, 0].tolist()) == chosen


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ({"blocks.9.hook_resid_post": [1]}, "blocks.9.hook_resid_post, but SAEs are spliced in at blocks.0"),
        ({HOOKS[0]: [24]}, "latent 24 is out of range, the SAE has 24 latents"),
        ({HOOKS[0]: [-1]}, f"{HOOKS[0]}: should be a list of latents"),
        ({HOOKS[0]: [1.5]}, "should be a list of latents"),
        ({HOOKS[0]: [True]}, "should be a list of latents"),
        ({HOOKS[0]: [1], HOOKS[1]: "2"}, f"{HOOKS[1]}: should be a list of latents"),
        ({HOOKS[0]: [3, 3]}, "latent 3 is listed twice"),
        ({HOOKS[0]: [3], "notes": "mine"}, "'notes' is no hook"),
    ],
)
def test_masks_that_make_no_sense_here(session: Session, tmp_path: Path, content: Any, says: str) -> None:
    path, before = put(tmp_path / "m.json", content), session.kept.clone()
    with pytest.raises(UserError) as error:
        session.open_circuit(path)
    assert says in str(error.value)
    assert str(error.value).startswith(f"{path}: ")
    assert bool((session.kept == before).all())


@pytest.mark.parametrize("content", ["", "[1]", "{", '{"a": [1]}', '{"schema": "x", "blocks.0.hook_resid_pre": [1]}'])
def test_other_files_are_not_mask_files(tmp_path: Path, content: str) -> None:
    assert not is_mask_file(put(tmp_path / "m.json", content))
    assert not is_mask_file(tmp_path / "absent.json")


def test_the_command_line_asks_for_model_and_saes_that_the_file_does_not_name(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], opened: OpenRequest
) -> None:
    path = put(tmp_path / "m.json", {"blocks.7.hook_resid_post": [3]})
    assert main(["find", "--circuit", str(path)]) == 2  # on the demo, which has no layer 7
    assert "give them with --model, --sae and --task" in capfd.readouterr().err
    path = put(tmp_path / "m.json", {HOOKS[1]: [3]})
    saes = [str(part) for folder in opened.sae_dirs for part in ("--sae-dir", folder)]
    line = ["find", "--circuit", str(path), "--model", str(opened.model), "--prompts", str(opened.prompts), *saes]
    out = tmp_path / "found.masks.json"
    code = main([*line, "--errors", "keep", "--method", "random", "--target", "0.5", "--out", str(out)])
    assert code in (0, 1), capfd.readouterr().err
    assert is_mask_file(out)


def _fields(opened: OpenRequest) -> dict[str, Any]:
    return {name: getattr(opened, name) for name in OpenRequest.__dataclass_fields__}
