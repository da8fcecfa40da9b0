"""Labels, notes, marks and groups: undo, effects, and their way through files, checks and stored sessions."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tiny.sessions import kept_of, settle

from circuit_tui.core.circuits.circuit_file import read_circuit
from circuit_tui.core.errors import UserError
from circuit_tui.core.latents.annotations import (
    AnnotationEdit,
    Annotations,
    DeleteGroup,
    Label,
    SaveGroup,
    SetLabel,
    SetNote,
    ToggleMarks,
)
from circuit_tui.core.opening.request import OpenRequest
from circuit_tui.core.session.listed_latents import listed_latents
from circuit_tui.core.session.session import Session, open_session

EDITS = st.one_of(
    st.builds(SetLabel, st.just(0), st.integers(0, 2), st.sampled_from(["mover", "", "name"])),
    st.builds(SetNote, st.just(0), st.integers(0, 2), st.sampled_from(["seen twice", ""])),
    st.builds(ToggleMarks, st.sets(st.integers(0, 9), min_size=1, max_size=3).map(tuple)),
    st.builds(SaveGroup, st.sampled_from(["a", "b"]), st.sets(st.integers(0, 9), min_size=1, max_size=4).map(tuple)),
    st.builds(DeleteGroup, st.sampled_from(["a", "b"])),
    st.integers(0, 9),
)


def latent_number(session: Session, edit: AnnotationEdit | int) -> AnnotationEdit | int:
    """The edit with the number of a latent in place of its index among the candidates of its site."""
    if not isinstance(edit, SetLabel | SetNote):
        return edit
    latents = sorted({k for s, k in zip(session.table.site, session.table.latent, strict=True) if s == edit.site})
    return type(edit)(edit.site, latents[edit.latent], edit.text)


@settings(deadline=None, max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(EDITS, max_size=8))
def test_undo_takes_back_what_is_said_as_it_takes_back_what_is_switched(
    fresh_session: Callable[[str], Session], edits: list[AnnotationEdit | int]
) -> None:
    session = fresh_session("gpt2-each")
    states = [(session.annotations, kept_of(session))]
    for edit in edits:
        given = latent_number(session, edit)
        try:
            session.toggle_node(given) if isinstance(given, int) else session.annotate(given)
        except UserError:
            assert isinstance(edit, DeleteGroup)
            continue
        if (session.annotations, kept_of(session).tolist()) != (states[-1][0], states[-1][1].tolist()):
            states.append((session.annotations, kept_of(session)))
    again = fresh_session("gpt2-each")
    again.restore(json.loads(json.dumps(session.state())))
    for one in (session, again):
        assert one.annotations == session.annotations
        for said, kept in reversed(states[:-1]):
            one.undo()
            assert one.annotations == said
            assert kept_of(one).equal(kept)
        assert not one.view().can_undo
        for said, kept in states[1:]:
            one.redo()
            assert (one.annotations, kept_of(one).tolist()) == (said, kept.tolist())


def test_a_groups_effect_is_that_of_the_group_as_one(fresh_session: Callable[[str], Session]) -> None:
    session = fresh_session("gpt2-each")
    session.only(range(0, len(session.table), 3))
    nodes = (0, 3, 4, 9)
    session.annotate(SaveGroup("movers", nodes))
    session.annotate(SaveGroup("off", (1, 2)))
    assert session.groups()[0].effect is None
    settle(session)
    movers, off = session.groups()
    assert (movers.n_on, off.n_on, off.effect) == (3, 0, None)
    test = session.experiment.test
    without = session.kept.clone()
    without[list(nodes)] = False
    expected = test.faithfulness(session.kept).result() - test.faithfulness(without).result()
    assert movers.effect == pytest.approx(expected, abs=1e-5)
    single = [session.view().effect[node] or 0.0 for node in (0, 3, 9)]
    assert abs(sum(single) - expected) > 1e-4, "it is not their sum"
    session.toggle_group("movers")
    assert not any(session.view().kept[node] for node in nodes)
    assert session.groups()[0].effect is None
    session.toggle_group("movers")
    assert all(session.view().kept[node] for node in nodes)
    settle(session)
    assert session.groups()[0].n_on == 4


def annotated(session: Session) -> Annotations:
    table = session.table
    session.only(range(0, len(table), 4))
    for edit in (
        SetLabel(table.site[0], table.latent[0], "end token"),
        SetNote(table.site[0], table.latent[0], "seen in\nboth splits"),
        SetLabel(table.site[-1], table.latent[-1], "never kept"),
        ToggleMarks((0, 1, 4)),
        SaveGroup("movers", (0, 4, 5)),
        SaveGroup("readers", (8,), "red"),
        ToggleMarks((2, 4)),
    ):
        session.annotate(edit)
    return session.annotations


def test_everything_that_is_said_comes_back_with_the_file(
    solvable_request: Callable[..., OpenRequest], tmp_path: Path, cli: Any
) -> None:
    session = open_session(solvable_request("gpt2"))
    said = annotated(session)
    assert session.view().dirty
    path = session.export(tmp_path / "said.json")
    assert not session.view().dirty
    data = json.loads(path.read_text())
    first = data["sites"][0]["nodes"][0]
    assert [label["text"] for label in first["labels"]] == ["end token"]
    assert (first["labels"][0]["source"], first["note"]) == ("you", "seen in\nboth splits")
    assert [(group["name"], group["colour"], group["split"]) for group in data["groups"]] == [
        ("movers", "blue", "test"), ("readers", "red", "test"),
    ]  # fmt: skip
    assert data["groups"][0]["effect"] is not None
    assert all("labels" not in node for site in data["sites"] for node in site["nodes"] if node["label"] == "nowhere")
    again = open_session(solvable_request("gpt2", circuit=path))
    assert again.annotations == said
    row = next(row for row in listed_latents(again, "label=end") if row.label == "end token")
    assert row.groups == ("movers",)
    done = cli("check", path, "--json", "--device", "cpu")
    assert done.code == 0, done.err
    assert {"groups[0].effect", "groups[1].effect"} <= {row["field"] for row in done.data["fields"]}
    data["groups"][0]["effect"] += 0.1
    path.write_text(json.dumps(data))
    assert cli("check", path, "--json", "--device", "cpu").code == 1


def test_a_file_without_anything_said_has_no_such_keys(
    solvable_request: Callable[..., OpenRequest], tmp_path: Path
) -> None:
    session = open_session(solvable_request("gpt2"))
    session.only(range(0, len(session.table), 4))
    data = json.loads(session.export(tmp_path / "plain.json").read_text())
    assert not {"groups", "noted"} & set(data)
    assert all(not {"labels", "mark", "note"} & set(node) for site in data["sites"] for node in site["nodes"])


def test_labels_of_others_stay_beside_ones_own(solvable_request: Callable[..., OpenRequest], tmp_path: Path) -> None:
    session = open_session(solvable_request("gpt2"))
    annotated(session)
    path = session.export(tmp_path / "said.json")
    data = json.loads(path.read_text())
    node = data["sites"][0]["nodes"][0]
    node["labels"].append({"text": "a comma", "source": "neuronpedia", "date": "2026-01-01T00:00:00Z", "score": 0.7})
    path.write_text(json.dumps(data))
    again = open_session(solvable_request("gpt2", circuit=path))
    key = (session.table.site[0], session.table.latent[0])
    assert again.annotations.labels[key][1] == Label("a comma", "neuronpedia", "2026-01-01T00:00:00Z", 0.7)
    assert again.annotations.label(*key) == "end token"
    again.annotate(SetLabel(*key, ""))
    assert again.annotations.label(*key) == "a comma"


def test_opening_a_file_adds_to_what_was_said_and_renames_groups_that_differ(
    solvable_request: Callable[..., OpenRequest], tmp_path: Path
) -> None:
    session = open_session(solvable_request("gpt2"))
    said = annotated(session)
    path = session.export(tmp_path / "said.json")
    other = open_session(solvable_request("gpt2"))
    other.annotate(SaveGroup("movers", (7,)))
    other.annotate(ToggleMarks((30,)))
    other.open_circuit(path)
    assert [group.name for group in other.annotations.groups] == ["movers", "movers (said.json)", "readers"]
    assert other.annotations.marks == said.marks | {30}
    other.undo()
    assert [group.name for group in other.annotations.groups] == ["movers"]


@pytest.mark.parametrize(
    ("edit", "says"),
    [
        (SetLabel(0, 10**6, "x"), "not a candidate"),
        (SaveGroup(" ", (1,)), "give it a name"),
        (SaveGroup("a", ()), "it has no nodes"),
        (SaveGroup("a", (1,), "pink"), "no colour 'pink'"),
        (SaveGroup("a", (10**6,)), "out of range"),
        (ToggleMarks((-1,)), "out of range"),
        (DeleteGroup("a"), "there is none of that name"),
    ],
)
def test_what_cannot_be_said_is_refused_and_changes_nothing(
    fresh_session: Callable[[str], Session], edit: AnnotationEdit, says: str
) -> None:
    session = fresh_session("gpt2-each")
    before = session.view()
    with pytest.raises(UserError, match=says):
        session.annotate(edit)
    assert session.view() == before
    with pytest.raises(UserError, match="there is none of that name"):
        session.toggle_group("nobody")


def test_damaged_annotations_in_a_file_are_named(solvable_request: Callable[..., OpenRequest], tmp_path: Path) -> None:
    session = open_session(solvable_request("gpt2"))
    annotated(session)
    path = session.export(tmp_path / "said.json")
    whole = path.read_text()
    for damage, says in (
        (lambda d: d["groups"].append(d["groups"][0]), r"\$.groups\[2\].name: 'movers' is listed twice"),
        (lambda d: d["groups"][0]["nodes"][0].update(position="nowhere"), r"\$.groups\[0\].nodes\[0\].position"),
        (lambda d: d["noted"][0].update(latent=99), r"\$.noted\[0\].latent: 99 is out of range"),
        (lambda d: d["groups"][0].update(nodes=[]), r"\$.groups\[0\].nodes"),
        (lambda d: d.update(schema="circuit-tui/circuit/1", groups=None), "is not a key of"),
    ):
        data = json.loads(whole)
        damage(data)
        path.write_text(json.dumps(data))
        with pytest.raises(UserError, match=says):
            read_circuit(path)
