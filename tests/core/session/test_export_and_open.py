"""An exported file opens as the same circuit: nodes, numbers and effects, in a session that has only the file."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import fields, replace
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny.models_with_saes import TinyModel
from tiny.problems import open_problem
from tiny.searches import QUICK, with_few_latents
from tiny.sessions import assert_close, make_session, names_of_kept, request, settle, write_prompts
from tiny.solvable_task import solvable_task

from circuit_tui.core import demo
from circuit_tui.core.choices import ERRORS
from circuit_tui.core.circuits.circuit_file import read_circuit
from circuit_tui.core.circuits.recheck import recheck_circuit
from circuit_tui.core.circuits.schema import MetricsPart
from circuit_tui.core.errors import UserError
from circuit_tui.core.opening.request import OpenRequest
from circuit_tui.core.outputs.output_file import ForeignFileError
from circuit_tui.core.search.found_by import spec_of
from circuit_tui.core.search.objectives import Objective
from circuit_tui.core.search.spec import SearchSpec
from circuit_tui.core.session.session import Session, open_session
from circuit_tui.core.session.state import SessionState
from circuit_tui.core.views import Metrics

POSITIONS = {"each": "gpt2", "end": "llama", "shared": "gemma2"}


@pytest.fixture(scope="module")
def opened(
    tiny_model: Callable[[str], TinyModel], tmp_path_factory: pytest.TempPathFactory
) -> Callable[..., OpenRequest]:
    """Maps a shape to the request for a task that its model can do."""
    folder = tmp_path_factory.mktemp("prompts")

    def made(shape: str, **changes: Any) -> OpenRequest:
        path = folder / f"{shape}.jsonl"
        if not path.exists():
            write_prompts(solvable_task(tiny_model(shape), (6,) * 9, (6,) * 5), path)
        return request(tiny_model(shape), path, **changes)

    return made


def some_kept(session: Session) -> Session:
    """Keeps eight nodes of the session, some from every site, and returns it."""
    session.only(range(1, len(session.table), max(1, len(session.table) // 8)))
    assert all(session.view().size_by_site)
    return session


def assert_equal(again: Session, session: Session) -> None:
    assert names_of_kept(again) == names_of_kept(session)
    settle(session)
    settle(again)
    one, other = again.view(), session.view()
    assert_close(one.test, other.test)
    assert one.train is not None
    assert other.train is not None
    assert_close(one.train, other.train)
    by_name = []
    for each in (again, session):
        table, effects = each.table, each.view().effect
        by_name.append(
            {
                (table.site[node], table.position[node], table.latent[node]): effect
                for node, effect in enumerate(effects)
                if effect is not None
            }
        )
    assert by_name[0] == pytest.approx(by_name[1], abs=1e-5)


# Any two of the three choices meet in every combination.
CASES = [
    (positions, ablation, ERRORS[(p + a) % len(ERRORS)])
    for (p, positions), (a, ablation) in product(enumerate(POSITIONS), enumerate(("mean", "zero", "resample")))
]


@pytest.mark.parametrize(("positions", "ablation", "errors"), CASES)
def test_a_file_opens_as_the_circuit_that_was_exported(
    opened: Callable[..., OpenRequest], tmp_path: Path, positions: str, ablation: str, errors: str
) -> None:
    asked = opened(POSITIONS[positions], positions=positions, ablation=ablation, errors=errors)
    session, path = some_kept(open_session(asked)), tmp_path / "circuit.json"
    session.export(path)
    again = open_session(OpenRequest(circuit=path, device="cpu"))
    assert again.info == session.info
    assert not again.view().dirty
    assert_equal(again, session)
    session.undo()
    session.open_circuit(path)
    assert_equal(session, again)
    file = read_circuit(path)
    settle(session)
    for part in fields(Metrics):
        assert getattr(file.metrics.test, part.name) == pytest.approx(getattr(session.view().test, part.name), abs=1e-6)
    written = [node.stats.effect for site in file.sites for node in site.nodes]
    assert written == pytest.approx([effect for effect in session.view().effect if effect is not None], abs=1e-6)


def test_how_it_was_found_goes_with_it(opened: Callable[..., OpenRequest], tmp_path: Path) -> None:
    session, path = open_session(opened("gpt2", errors="keep")), tmp_path / "circuit.json"
    search = session.search(SearchSpec("mask", 0.7, 3, QUICK["mask"]))
    list(search)
    result = search.result
    assert result is not None
    session.adopt(result)
    session.export(path)
    again, second = open_session(OpenRequest(circuit=path, device="cpu")), tmp_path / "again.json"
    again.export(second)
    for file in (read_circuit(path), read_circuit(second)):
        assert (file.method.name, file.seed, file.method.target, file.method.edited) == ("mask", 3, 0.7, False)
        assert (file.method.settings, file.method.reached) == (result.settings, result.reached)
    again.toggle_node(0)
    again.export(second)
    assert read_circuit(second).method.edited


def test_what_a_search_held_goes_with_it_and_is_checked(opened: Callable[..., OpenRequest], tmp_path: Path) -> None:
    session, path = open_session(opened("gpt2", errors="keep")), tmp_path / "circuit.json"
    held = (Objective("logit-diff", 0.7), Objective("kl", 0.5))
    spec = SearchSpec("mask", 0.7, 3, QUICK["mask"], held, ("zero",), 0.1).complete()
    search = session.search(spec)
    list(search)
    assert search.result is not None
    session.adopt(search.result)
    session.export(path)
    file = read_circuit(path)
    assert (file.ablation.kinds, file.ablation.slack) == (("mean", "zero"), 0.1)
    found = [(each.kind, value.ablation, value.train, value.test) for each in file.objectives for value in each.values]
    result = sorted(found) == sorted(
        (value.kind, value.ablation, pytest.approx(value.train), pytest.approx(value.test))
        for value in search.result.held
    )
    assert result
    again = open_session(OpenRequest(circuit=path, device="cpu"))
    assert spec_of(again.provenance, 3) == spec
    state = SessionState.of(json.loads(json.dumps(again.state())), len(again.table))
    assert spec_of(state.provenance, 3) == spec
    settle(again)
    assert all(check.ok for check in recheck_circuit(file, again.circuit_file()))
    fresh = open_session(opened("gpt2", errors="keep"))  # as `check` computes it anew
    fresh.replace(list(search.result.nodes), "opened for a check", file)
    settle(fresh)
    assert all(check.ok for check in recheck_circuit(file, fresh.circuit_file()))
    wrong = edited(path, lambda data: data["objectives"][1]["values"][1].update(train=0.123))
    differ = [check.field for check in recheck_circuit(read_circuit(wrong), again.circuit_file()) if not check.ok]
    assert differ == ["objectives[1].values[1].train"]
    again.only([0])  # what is in the file is of the circuit as it is now
    assert again.circuit_file().objectives[0].values[0].train != pytest.approx(found[0][2])


def edited(path: Path, change: Callable[[Any], None]) -> Path:
    data = json.loads(path.read_text())
    change(data)
    other = path.with_name("edited.json")
    other.write_text(json.dumps(data))
    return other


def a_silent_node(session: Session) -> tuple[int, str, int]:
    """Returns a (site, position, latent) that is no candidate, because it never fires on the train prompts."""
    table = session.table
    known = set(zip(table.site, table.position, table.latent, strict=True))
    site, position, latent = next(
        (site, position, latent)
        for site in range(len(table.sites))
        for position in range(len(table.positions))
        for latent in range(table.sites[site].d_sae)
        if (site, position, latent) not in known
    )
    return site, table.positions[position], latent


def test_a_node_that_never_fires_opens_with_the_file(opened: Callable[..., OpenRequest], tmp_path: Path) -> None:
    session, path = some_kept(open_session(opened("gpt2", errors="keep"))), tmp_path / "circuit.json"
    session.export(path)
    site, position, latent = a_silent_node(session)

    def add(data: Any) -> None:
        stats = {"mean_clean": 0.0, "mean_corrupt": 0.0, "max": 0.0, "frequency": 0.0, "effect": 0.0}
        node = {"position": position, "latent": latent, "label": "", "stats": stats}
        data["sites"][site]["nodes"].append(node)
        data["size"] += 1

    other = edited(path, add)
    again = open_session(OpenRequest(circuit=other, device="cpu"))
    assert names_of_kept(again) == names_of_kept(session) | {(session.table.sites[site].hook, position, latent)}
    settle(session)
    settle(again)
    train = again.view().train
    assert train is not None
    assert session.view().train is not None
    assert_close(train, session.view().train)  # type: ignore[arg-type]
    before = session.view()
    with pytest.raises(UserError, match=rf"edited\.json: .* {latent}@{position} never fires .* --circuit"):
        session.open_circuit(other)
    assert session.view() == before


@pytest.mark.parametrize(
    ("field", "change"),
    [
        ("task.prompts_sha256", lambda data: data["task"].update(prompts_sha256="0" * 64)),
        ("model.weights_sha256", lambda data: data["model"].update(weights_sha256="0" * 64)),
        ("model.processing", lambda data: data["model"].update(processing="folded")),
        ("sites", lambda data: data["sites"].pop()),
        ("sae.weights_sha256", lambda data: data["sites"][1]["sae"].update(weights_sha256="0" * 64)),
        ("task.positions", lambda data: data["task"]["positions"].append("verb")),
        ("task.positions_kind", lambda data: data["task"].update(positions_kind="end")),
        ("ablation.kind", lambda data: data["ablation"].update(kind="zero")),
        ("ablation.errors", lambda data: data["ablation"].update(errors="mean")),
        (r"\$.sites\[0\].nodes\[0\].latent: 24 is out", lambda data: data["sites"][0]["nodes"][0].update(latent=24)),
        (
            r"\$.sites\[0\].nodes\[0\].position: 'verb'",
            lambda data: data["sites"][0]["nodes"][0].update(position="verb"),
        ),
    ],
)
def test_a_circuit_of_something_else_is_refused_with_the_field(
    opened: Callable[..., OpenRequest], tmp_path: Path, field: str, change: Callable[[Any], None]
) -> None:
    session, path = some_kept(open_session(opened("gpt2"))), tmp_path / "circuit.json"
    session.export(path)
    session.only([0])
    before = session.view()
    with pytest.raises(UserError, match=rf"edited\.json: .*{field}"):
        session.open_circuit(edited(path, change))
    assert session.view() == before
    if not field.startswith(("ablation", "sites")):  # those the file itself chooses when it is opened afresh
        with pytest.raises(UserError):
            open_session(OpenRequest(circuit=edited(path, change), device="cpu"))


def test_prompts_beside_the_file_are_found(
    opened: Callable[..., OpenRequest], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = opened("gpt2")
    assert asked.prompts is not None
    here = tmp_path / "here"
    here.mkdir()
    (here / "p.jsonl").write_text(asked.prompts.read_text())
    monkeypatch.chdir(here)
    session = some_kept(open_session(replace(asked, prompts=Path("p.jsonl"))))
    path = session.export(here / "circuit.json")
    monkeypatch.chdir(tmp_path)
    assert_equal(open_session(OpenRequest(circuit=path, device="cpu")), session)


def test_export_refuses_a_faithfulness_without_a_value(tiny_model: Callable[[str], TinyModel], tmp_path: Path) -> None:
    """No latent of the SAEs fires, so M_s is the empty circuit, and a ratio against it has no value."""
    few = with_few_latents(tiny_model("gpt2"), tmp_path, 3)
    for site in few.sites:
        for name, weight in site.sae.sae.named_parameters():
            if name == "b_enc":
                weight.data.fill_(-1e3)
    task = solvable_task(tiny_model("gpt2"), (6,) * 5, (6,) * 3)
    session = make_session(open_problem(few, task, "each"))
    assert len(session.table) == 0
    session.invert()
    with pytest.raises(UserError, match="export: faithfulness_spliced has no value"):
        session.export(tmp_path / "circuit.json")
    assert not (tmp_path / "circuit.json").exists()


def test_snapshots_come_back_with_the_file(opened: Callable[..., OpenRequest], tmp_path: Path) -> None:
    session, path = some_kept(open_session(opened("gpt2"))), tmp_path / "circuit.json"
    session.save_snapshot("all")
    kept = session.kept.clone()
    session.only([0, 2])
    session.save_snapshot("two")
    session.export(path)
    file = read_circuit(path)
    evaluator = session.experiment.test
    for snapshot, circuit in zip(file.snapshots, (kept, session.kept), strict=True):
        assert snapshot.metrics == MetricsPart.of(evaluator.evaluate(circuit).result())
    again = open_session(OpenRequest(circuit=path, device="cpu"))
    assert again.view().snapshots == ("all", "two")
    assert not again.view().dirty
    assert again.circuit_file().snapshots[0].metrics is None, "a file's numbers are not taken for computed ones"
    settle(again)
    checks = recheck_circuit(file, again.circuit_file())
    assert all(check.ok for check in checks)
    assert any(check.field == "snapshots[1].metrics.faithfulness" for check in checks)

    def forge(data: Any) -> None:
        data["snapshots"][1]["metrics"]["kl"] += 0.01

    forged = recheck_circuit(read_circuit(edited(path, forge)), again.circuit_file())
    assert [check.field for check in forged if not check.ok] == ["snapshots[1].metrics.kl"]
    again.restore_snapshot("all")
    assert torch.equal(again.kept, kept)


def test_a_snapshot_of_a_file_replaces_none_of_the_same_name(
    opened: Callable[..., OpenRequest], tmp_path: Path
) -> None:
    session = some_kept(open_session(opened("gpt2")))
    session.save_snapshot("same")
    session.save_snapshot("other")
    path = session.export(tmp_path / "c.json")
    session.only([1])
    session.save_snapshot("other")
    session.open_circuit(path)
    assert session.view().snapshots == ("same", "other", "other (c.json)")
    session.restore_snapshot("other")
    assert session.kept.nonzero().flatten().tolist() == [1]


def test_a_snapshot_with_a_node_that_never_fires_opens_with_the_file(
    opened: Callable[..., OpenRequest], tmp_path: Path
) -> None:
    session, path = some_kept(open_session(opened("gpt2"))), tmp_path / "circuit.json"
    session.export(path)
    site, position, latent = a_silent_node(session)
    silent = {"hook": session.table.sites[site].hook, "position": position, "latent": latent}
    other = edited(path, lambda data: data.update(snapshots=[{"name": "silent", "nodes": [silent], "metrics": None}]))
    again = open_session(OpenRequest(circuit=other, device="cpu"))
    again.restore_snapshot("silent")
    assert names_of_kept(again) == {(silent["hook"], position, latent)}


def test_snapshots_are_work_that_a_mask_file_does_not_hold(
    opened: Callable[..., OpenRequest], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    session = some_kept(open_session(opened("gpt2")))
    session.export(tmp_path / "c.json")
    assert not session.view().dirty
    session.save_snapshot("mine")
    assert session.view().dirty
    session.export(tmp_path / "c.masks.json")
    assert session.view().dirty
    assert "published masks hold the latents of each hook" in caplog.text
    session.export(tmp_path / "c.json")
    assert not session.view().dirty


def test_an_export_replaces_a_foreign_file_by_force_alone(opened: Callable[..., OpenRequest], tmp_path: Path) -> None:
    session, path = some_kept(open_session(opened("gpt2"))), tmp_path / "notes.txt"
    path.write_text("mine")
    with pytest.raises(ForeignFileError, match="--force replaces it"):
        session.export(path)
    assert path.read_text() == "mine"
    assert session.view().dirty
    session.export(path, force=True)
    session.export(path)
    assert len(read_circuit(path).nodes()) == session.view().size


def copied(folder: Path, to: Path) -> Path:
    to.mkdir()
    for file in folder.iterdir():
        (to / file.name).write_bytes(file.read_bytes())
    return to


@pytest.mark.parametrize("mixed", ["own model folder", "own SAE folders"])
def test_the_demo_named_by_its_folders(tmp_path: Path, mixed: str) -> None:
    """Either the model is a folder and the SAEs are bundled, or the other way round."""
    hooks = demo.sae_dirs()[-1:]
    if mixed == "own model folder":
        model = copied(demo.model_dir(), tmp_path / "model")
        config = json.loads((model / "config.json").read_text())
        (model / "config.json").write_text(json.dumps(config | {"model_name": "circuit-tui-demo"}))
        asked = OpenRequest(model=str(model), sae_dirs=hooks, task="sva-simple", device="cpu")
    else:
        asked = OpenRequest(sae_dirs=(copied(hooks[0], tmp_path / "sae"),), task="sva-simple", device="cpu")
    session, path = open_session(asked), tmp_path / "circuit.json"
    session.only(range(0, len(session.table), max(1, len(session.table) // 4)))
    session.export(path)
    again = open_session(OpenRequest(circuit=path, device="cpu"))
    assert_equal(again, session)
    assert torch.equal(again.kept, session.kept)
