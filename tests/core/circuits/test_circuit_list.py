"""Lists of circuit files, and two circuits beside each other."""

from __future__ import annotations

import json
from collections.abc import Set
from pathlib import Path
from typing import Any

import pytest
from circuit_example import example, node
from hypothesis import given
from hypothesis import strategies as some

from circuit_tui.core.circuits.circuit_list import list_circuits
from circuit_tui.core.circuits.compare_circuits import ComparedCircuit, NodeName, compare_circuits
from circuit_tui.core.errors import UserError


def write(path: Path, **changes: Any) -> Path:
    path.write_text(json.dumps({**example(), **changes}))
    return path


def test_a_folder_has_its_circuits_newest_first_and_nothing_else(tmp_path: Path) -> None:
    write(tmp_path / "old.json", created="2024-01-01T00:00:00Z")
    write(tmp_path / "new.json", created="2025-01-01T00:00:00Z")
    (tmp_path / "other.json").write_text('{"mine": 1}')
    (tmp_path / "notes.txt").write_text("x")
    (tmp_path / "torn.json").write_text(json.dumps(example())[:-20])
    found = list_circuits([tmp_path])
    assert [row.name for row in found.rows] == ["new.json", "old.json"]
    assert len(found.damaged) == 1
    assert "torn.json" in found.damaged[0]
    row, data = found.rows[0], example()
    assert (row.size, row.test, row.kl) == (
        data["size"], data["metrics"]["test"]["faithfulness"], data["metrics"]["test"]["kl"],
    )  # fmt: skip
    assert (row.method, row.model, row.task) == (data["method"]["name"], data["model"]["name"], data["task"]["name"])
    assert list_circuits([tmp_path / "old.json", tmp_path]).rows == found.rows
    for wrong in ("torn.json", "other.json", "missing.json"):
        with pytest.raises(UserError, match=wrong):
            list_circuits([tmp_path / wrong])


names = some.frozensets(some.tuples(some.sampled_from("ab"), some.sampled_from("xy"), some.integers(0, 3)))


def side(name: str, nodes: frozenset[NodeName], **setup: str) -> ComparedCircuit:
    return ComparedCircuit(name, nodes, {}, setup)


def share(a: Set[object], b: Set[object]) -> float:
    either = {*a, *b}
    return sum(each in a and each in b for each in either) / len(either) if either else 1.0


@given(names, names)
def test_nodes_are_divided_as_sets_are(a: frozenset[NodeName], b: frozenset[NodeName]) -> None:
    found, back = compare_circuits(side("a", a), side("b", b)), compare_circuits(side("b", b), side("a", a))
    assert set(found.both) | set(found.only_first) == a
    assert set(found.both) | set(found.only_second) == b
    assert len(found.both) + len(found.only_first) + len(found.only_second) == len(a | b)
    assert (back.only_first, back.only_second, back.overlap) == (found.only_second, found.only_first, found.overlap)
    assert found.overlap == share(a, b)
    assert found.latent_overlap == share({(h, k) for h, _, k in a}, {(h, k) for h, _, k in b})
    assert found.same_nodes == (a == b)


def test_only_what_both_say_and_that_differs_is_a_difference() -> None:
    found = compare_circuits(
        side("a", frozenset(), model="gpt2", task="ioi", weights="", dtype="float32"),
        side("b", frozenset(), model="gpt2", task="sva", weights="f00", prompts="1"),
    )
    assert found.differences == (("task", "ioi", "sva"),)


def test_the_commands_list_and_compare(cli: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert cli("circuits").code == 1
    changed = example()
    changed["sites"][0]["nodes"] = [*changed["sites"][0]["nodes"], node("verb", 7)]
    changed["size"] += 1
    changed["task"]["name"] = "another"
    write(tmp_path / "a.json")
    write(tmp_path / "b.json", **{key: changed[key] for key in ("sites", "size", "task")})
    listed = cli("circuits", "--json", "--out", "list.csv")
    assert listed.code == 0, listed.err
    assert {row["name"]: row["size"] for row in listed.data["circuits"]} == {"a.json": 2, "b.json": 3}
    assert (tmp_path / "list.csv").read_text().startswith("name,method,target,")
    assert "a.json" in cli("circuits", tmp_path).out
    same = cli("diff", "a.json", "a.json", "--json")
    assert (same.code, same.data["overlap"], same.data["differences"]) == (0, 1.0, [])
    found = cli("diff", "a.json", "b.json", "--json")
    assert found.code == 1
    assert found.data["only_second"] == [{"hook": "blocks.0.hook_resid_post", "position": "verb", "latent": 7}]
    assert (len(found.data["both"]), found.data["only_first"]) == (2, [])
    assert found.data["differences"][0]["second"] == "another"
    text = cli("diff", "a.json", "b.json").out
    assert "not the same task" in text
    assert "only in b.json" in text
    for words in (("diff", "a.json", "missing.json"), ("circuits", "missing.json"), ("circuits", "--out", "x.json")):
        assert cli(*words).code == 2
