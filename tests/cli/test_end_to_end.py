"""The main job on the bundled demo: a circuit is found, written and checked in a new process; forgeries are caught."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from circuit_tui.core.circuits.circuit_file import read_circuit
from circuit_tui.core.tasks.builtin import builtin
from circuit_tui.tui.cli import main

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A circuit of `sva-simple`, found by the default method."""
    path = tmp_path_factory.mktemp("found") / "circuit.json"
    assert main(["find", "--task", "sva-simple", "--out", str(path)]) == 0
    return path


def test_the_file_holds_what_was_asked_for(found: Path) -> None:
    file = read_circuit(found)
    assert (file.task.name, file.task.source.kind, file.model.name) == ("sva-simple", "builtin", "circuit-tui/demo")
    assert file.size == len(file.nodes()) > 0
    assert file.method.reached
    assert file.metrics.train.faithfulness >= 0.95
    assert file.metrics.test.completeness is not None
    assert all(node.stats.effect is not None for site in file.sites for node in site.nodes)
    assert all(site.sae.path is None for site in file.sites), "no path of one machine"


def test_it_passes_the_check_in_a_fresh_process(found: Path) -> None:
    command = [str(Path(sys.executable).with_name("circuit-tui")), "check", str(found), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["ok"]
    fields = {row["field"] for row in report["fields"]}
    assert {"size", "task.prompts_sha256", "metrics.test.faithfulness", "sites[0].sae.weights_sha256"} <= fields
    assert any(field.endswith(".stats.effect") for field in fields)


def _forge(found: Path, change: Callable[[Any], None]) -> Path:
    data = json.loads(found.read_text())
    change(data)
    path = found.with_name("forged.json")
    path.write_text(json.dumps(data))
    return path


def _without_its_weightiest_node(data: Any) -> None:
    all_nodes = [(site["nodes"], node) for site in data["sites"] for node in site["nodes"]]
    nodes, weightiest = max(all_nodes, key=lambda place: place[1]["stats"]["effect"])
    nodes.remove(weightiest)


def _differing(cli: Any, path: Path) -> set[str]:
    done = cli("check", path, "--json")
    assert done.code == 1
    assert not done.data["ok"]
    return {row["field"] for row in done.data["fields"] if not row["ok"]}


def test_a_node_edited_out_is_caught(cli: Any, found: Path) -> None:
    wrong = _differing(cli, _forge(found, _without_its_weightiest_node))
    assert {"size", "metrics.test.faithfulness", "metrics.train.logit_diff"} <= wrong


def test_a_node_edited_out_is_caught_by_its_numbers_alone(cli: Any, found: Path) -> None:
    def change(data: Any) -> None:
        _without_its_weightiest_node(data)
        data["size"] -= 1

    wrong = _differing(cli, _forge(found, change))
    assert "size" not in wrong
    assert "metrics.test.faithfulness" in wrong


def test_other_weights_and_prompts_are_caught(cli: Any, found: Path) -> None:
    def change(data: Any) -> None:
        data["task"]["prompts_sha256"] = data["model"]["weights_sha256"] = "0" * 64

    done = cli("check", _forge(found, change))
    assert done.code == 1
    wrong = {line.split()[0] for line in done.out.splitlines() if line.endswith("DIFFERS")}
    assert wrong == {"task.prompts_sha256", "model.weights_sha256"}
    assert "forged.json: 2 of" in done.out


def test_a_circuit_opens_the_search_anew(cli: Any, found: Path, tmp_path: Path) -> None:
    done = cli("find", "--circuit", found, "--method", "ig", "--set", "steps=1", "--target", 0.5, "--json")
    assert done.code == 0
    assert done.data["task"] == json.loads(found.read_text())["task"]


def test_prompts_of_ones_own_are_found_beside_the_file(
    cli: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The path in the file is relative, and the check runs in another folder."""
    from circuit_tui.core.tasks.builtin import builtin

    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    keys = ("clean", "corrupt", "answer", "wrong")
    rows = [{key: getattr(pair, key) for key in keys} for pair in builtin("sva-simple").split("test")]
    Path("own.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert cli("find", "--prompts", "own.jsonl", "--method", "ig", "--target", 0.5, "--out", "c.json").code == 0
    assert read_circuit(Path("c.json")).task.source.path == "own.jsonl"
    monkeypatch.chdir(tmp_path)
    assert cli("check", "here/c.json").code == 0


def test_a_circuit_on_a_prompt_of_its_own_task_measures_what_the_file_says(cli: Any, found: Path) -> None:
    pair = builtin("sva-simple").split("test")[0]
    report = cli("try", found, pair.clean, "--answer", pair.answer, "--wrong", pair.wrong, "--json").data
    assert report["plain"]["kl"] == 0.0
    assert report["plain"]["logit_diff"] > 0
    assert [name for name in report["positions"] if name] == list(pair.roles)
    kept = {(hook, position, latent) for hook, position, latent in read_circuit(found).nodes()}
    assert {(each["hook"], each["position"], each["latent"]) for each in report["active"]} <= kept
    shown = cli("try", found, pair.clean).out
    assert "faithfulness" not in shown
    assert "likeliest next tokens" in shown


@pytest.mark.parametrize(
    ("args", "says"),
    [
        ((" ",), "the prompt has no words"),
        (("the cat", "--roles", "det"), "--roles: 1 names for the 2 words of 'the cat'"),
        (("the cat", "--answer", " runs"), "--answer and --wrong: give both, or neither"),
    ],
)
def test_a_prompt_that_cannot_be_tried_is_refused_before_the_work(
    cli: Any, found: Path, args: tuple[str, ...], says: str
) -> None:
    refused = cli("try", found, *args)
    assert (refused.code, refused.out) == (2, "")
    assert refused.err.strip() == f"error: {says}"


def test_an_attribution_adds_up_and_marks_the_circuit(cli: Any, found: Path) -> None:
    pair = builtin("sva-simple").split("test")[0]
    given = ("--of", pair.answer.strip(), "--minus", pair.wrong.strip(), "--depth", 2, "--parts", 4)
    taken_apart = cli("attribute", found, pair.clean, *given, "--json").data
    assert sum(part["value"] for part in taken_apart["parts"]) == pytest.approx(taken_apart["value"], abs=1e-3)
    kept = {(hook, latent) for hook, _, latent in read_circuit(found).nodes()}
    latents = [part for part in taken_apart["parts"] if part["kind"] == "latent"]
    assert latents
    for part in latents:
        assert part["in_circuit"] == ((part["site"], part["latent"]) in kept)
        below = part["expansion"]["parts"]
        assert sum(each["value"] for each in below) == pytest.approx(part["expansion"]["value"], abs=1e-3)


def test_a_heads_score_adds_up_to_its_own(cli: Any, found: Path) -> None:
    pair = builtin("sva-simple").split("test")[0]
    score = cli("attribute", found, pair.clean, "--head", "1.0", "--from", 1, "--json").data
    assert sum(part["value"] for part in score["parts"]) == pytest.approx(score["value"], abs=1e-3)
    assert 0 <= score["weight"] <= 1


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (("--head", "1.0"), "--head and --from: give both, or neither"),
        (("--head", "1.0", "--from", 1, "--of", "is"), "--head: a score is taken apart"),
    ],
)
def test_flags_that_do_not_go_together_are_refused_before_the_work(
    cli: Any, found: Path, args: tuple[Any, ...], says: str
) -> None:
    refused = cli("attribute", found, "the cat", *args)
    assert refused.code == 2
    assert says in refused.err
