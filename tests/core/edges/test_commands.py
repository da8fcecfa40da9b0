"""`edges`, `find --edges` and `check` of edges, on a tiny model."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from command_line import Cli

from circuit_tui.core.audit.lines import LINES


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("edges")


@pytest.fixture
def circuit(cli: Cli, solvable_flags: list[str], folder: Path) -> Path:
    """A circuit with its edges, found once."""
    path = folder / "circuit.json"
    if not path.exists():
        found = cli(
            "find",
            *solvable_flags,
            "--method",
            "atp",
            "--target",
            "0.9",
            "--edges",
            "--edge-target",
            "0.8",
            "--out",
            path,
        )
        assert found.code == 0, found.err
    return path


def test_find_writes_edges_that_check_computes_again(cli: Cli, circuit: Path, tmp_path: Path) -> None:
    data = json.loads(circuit.read_text())
    edges = data["edges"]
    assert edges["circuit"]["reached"]
    assert edges["circuit"]["train"] >= 0.8
    assert len(edges["circuit"]["kept"]) < len(edges["values"])
    checked = cli("check", circuit)
    assert checked.code == 0, checked.out
    assert "edges.circuit.test" in checked.out
    edges["values"][0]["direct"] += 0.5
    wrong = tmp_path / "wrong.json"
    wrong.write_text(json.dumps(data))
    assert cli("check", wrong).code == 1
    edges["values"][0]["source"] = 10_000
    wrong.write_text(json.dumps(data))
    refused = cli("check", wrong)
    assert (refused.code, refused.err.count("\n")) == (2, 1)
    assert "values[0] names an end beyond" in refused.err


def test_an_audit_of_a_file_with_edges_has_lines_on_them(
    cli: Cli, circuit: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines_without = tuple(line for line in LINES if line.key == "held-out")
    monkeypatch.setattr("circuit_tui.core.audit.lines.LINES", lines_without)
    out = tmp_path / "audited.json"
    audited = cli("audit", circuit, "--no-searches", "--out", out, "--json")
    assert audited.code in (0, 1), audited.err
    lines = {line["key"]: line for line in json.loads(audited.out)["findings"]}
    part = json.loads(circuit.read_text())["edges"]
    assert lines["edge-circuit"]["numbers"]["faithfulness"] == pytest.approx(part["circuit"]["test"], abs=1e-6)
    assert lines["edge-circuit"]["numbers"]["edges"] == len(part["circuit"]["kept"])
    assert -1 <= lines["edge-attribution"]["numbers"]["rank_correlation"] <= 1
    assert lines["edge-draws"]["verdict"] == "not measured"
    checked = cli("check", out)
    assert checked.code == 0, checked.out
    assert "audit.edge-circuit.faithfulness" in checked.out
    without = cli("audit", circuit, "--no-searches", "--no-edges", "--out", tmp_path / "without.json", "--json")
    assert [line["key"] for line in json.loads(without.out)["findings"]] == ["held-out"]


def test_edges_shows_the_strongest_or_those_of_a_node(cli: Cli, circuit: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.json"
    shown = cli("edges", circuit, "--top", 4, "--out", out, "--json")
    data = json.loads(shown.out)
    assert len(data["edges"]) == 4 < data["n_edges"]
    strengths = [abs(edge["metric"]["mean"]) for edge in data["edges"]]
    assert strengths == sorted(strengths, reverse=True)
    assert -1 <= data["agreement"]["frozen"] <= 1
    for edge in data["edges"]:
        parts = edge["past_heads"] + sum(head["value"] for head in edge["heads"]) + edge["rest"]
        assert parts == pytest.approx(edge["edge"]["mean"], abs=1e-5)
    assert json.loads(out.read_text())["edges"]["circuit"] is None
    name = next(end["name"] for end in data["ends"] if end["kind"] == "latent")
    of_one = json.loads(cli("edges", circuit, "--node", name.replace(" ", "/"), "--all", "--json").out)
    number = [end["name"] for end in of_one["ends"]].index(name)
    assert of_one["edges"]
    assert all(number in (edge["source"], edge["target"]) for edge in of_one["edges"])
    table = cli("edges", circuit, "--top", 2)
    assert table.code == 0
    assert "all together faithfulness" in table.out
    assert "frozen part against exact edge: rank correlation" in table.out


def test_the_graph_is_printed_in_place_of_the_table(cli: Cli, circuit: Path) -> None:
    drawn = cli("edges", circuit, "--graph")
    assert drawn.code == 0
    assert "[logit difference]" in drawn.out
    assert "a dashed one lowers the answer" in drawn.out
    latents = [node["latent"] for site in json.loads(circuit.read_text())["sites"] for node in site["nodes"]]
    assert all(f"[{latent}" in drawn.out for latent in latents)


def test_why_a_head_carries_an_edge(cli: Cli, circuit: Path) -> None:
    shown = json.loads(cli("edges", circuit, "--all", "--json").out)
    names = [end["name"].replace(" ", "/") for end in shown["ends"]]
    edge = max((each for each in shown["edges"] if each["heads"]), key=lambda each: abs(each["heads"][0]["aligned"]))
    of = ("edges", circuit, "--node", names[edge["target"]], "--why", names[edge["source"]])
    done = cli(*of, "--json")
    assert done.code == 0, done.err
    told = json.loads(done.out)
    head = edge["heads"][0]
    assert (told["score"]["block"], told["score"]["head"]) == (head["block"], head["head"])
    assert sum(part["value"] for part in told["score"]["parts"]) == pytest.approx(told["score"]["value"], rel=1e-3)
    table = cli(*of, "--head", f"{head['block']}.{head['head']}")
    assert table.code == 0
    assert f"head {head['block']}.{head['head']} looks from" in table.out
    assert "the pairs add up to" in table.out
    refused = cli(*of, "--head", "9.9")
    assert (refused.code, refused.err.splitlines()[-1].count("does not carry the edge")) == (2, 1)


def test_edges_on_a_prompt_without_answers_have_no_metric(cli: Cli, circuit: Path) -> None:
    prompt = json.loads(Path(json.loads(circuit.read_text())["task"]["source"]["path"]).read_text().splitlines()[0])
    shown = json.loads(cli("edges", circuit, "--on", prompt["clean"], "--json").out)
    assert shown["faithfulness"] is None
    assert shown["edges"]
    assert all(edge["metric"] is None for edge in shown["edges"])
    logits = len(shown["ends"]) - 1
    assert all(edge["target"] != logits for edge in shown["edges"])


def test_a_target_that_the_nodes_miss_is_the_answer_no(cli: Cli, circuit: Path) -> None:
    missed = cli("edges", circuit, "--edge-target", "1", "--json")
    assert missed.code == 1
    assert json.loads(missed.out)["edge_circuit"]["reached"] is False


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (["--edge-target", "1.5"], "--edge-target 1.5: must be above 0 and at most 1"),
        (["--node", "L9/1@end"], "--node L9/1@end: the circuit has no such node"),
        (["--answer", " a"], "describe the prompt of --on"),
        (["--why", "L0/1@end"], "--why: name the target of the edge with --node"),
        (["--head", "0.1"], "--head: only with --why"),
        (["--on", "a b", "--edge-target", "0.5"], "--on: --edge-target and --out need the task's prompts"),
    ],
)
def test_wrong_flags_are_refused_in_one_line(cli: Cli, circuit: Path, flags: list[str], says: str) -> None:
    refused = cli("edges", circuit, *flags)
    assert refused.code == 2
    assert says in refused.err.splitlines()[-1]


def test_find_refuses_flags_that_make_no_sense_together(cli: Cli) -> None:
    for flags, says in (
        (["--edge-target", "0.5"], "--edge-target: only with --edges"),
        (["--edges", "--detach"], "--edges: not with --detach"),
        (["--edges", "--dtype", "bfloat16"], "--edges: computed in float32"),
    ):
        refused = cli("find", *flags)
        assert (refused.code, refused.err.count("\n")) == (2, 1)
        assert says in refused.err
