"""Every number of circuits of the real model, against plain Hugging Face with hooks, one prompt at a time."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from plain_smollm2 import Node, PlainSmolLM2, read_rows
from torch import Tensor

from circuit_tui.core.circuits.circuit_file import read_circuit
from circuit_tui.core.circuits.recheck import recheck_circuit
from circuit_tui.core.example_files import example_dir
from circuit_tui.core.latents.contributions import contributions
from circuit_tui.core.opening.request import OpenRequest
from circuit_tui.core.session.session import Session, open_session

LAYERS = (6, 12, 18, 24)
CIRCUITS = 10
CLOSE: dict[str, float] = {"rel": 0, "abs": 2e-3}
"""Logits of 30 blocks in float32, in another order of additions."""

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def prompts(smollm2: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Some pairs of the agreement task, and of another length as unseen ones."""
    rows = read_rows(example_dir("smollm2") / "tasks" / "sva.jsonl")
    some = [[row for row in rows if row["split"] == split][:count] for split, count in (("train", 8), ("test", 4))]
    path = tmp_path_factory.mktemp("prompts") / "sva.jsonl"
    path.write_text("".join(f"{json.dumps(row)}\n" for part in some for row in part))
    return path


@pytest.fixture(scope="module")
def session(prompts: Path) -> Session:
    return open_session(OpenRequest(model="smollm2-135m", prompts=prompts))


@pytest.fixture(scope="module")
def plain(smollm2: Path, prompts: Path) -> PlainSmolLM2:
    train = [row for row in read_rows(prompts) if row["split"] == "train"]
    return PlainSmolLM2(smollm2, example_dir("smollm2") / "saes", LAYERS, train)


@pytest.fixture(scope="module")
def rows(prompts: Path) -> list[dict[str, Any]]:
    return [row for row in read_rows(prompts) if row["split"] == "test"]


def nodes_of(session: Session, kept: Tensor) -> set[Node]:
    table = session.table
    chosen = kept.nonzero()[:, 0].tolist()
    return {(LAYERS[table.site[node]], table.positions[table.position[node]], table.latent[node]) for node in chosen}


def random_circuits(session: Session) -> list[Tensor]:
    draw = torch.Generator().manual_seed(0)
    return [
        torch.rand(len(session.table), generator=draw) < (number + 1) / (CIRCUITS + 2) for number in range(CIRCUITS)
    ]


def mean(values: list[float]) -> float:
    return sum(values) / len(values)


def test_the_model_its_saes_and_its_tasks_are_those_that_come_with_the_program(session: Session) -> None:
    problem = session.problem
    assert (problem.model.name, [site.hook for site in problem.sites]) == (
        "smollm2-135m",
        [f"blocks.{layer}.hook_resid_post" for layer in LAYERS],
    )
    assert {site.sae.release for site in problem.sites} == {"smollm2-135m-res"}
    # The same unpacking and rounding on every machine; the Hub's weights have another hash.
    assert problem.model.weights_sha256 == "7ef915c9bf9d94d8d70211970476878352a5b95855c589ae987916d7a455242b"


def test_m_and_m_s_say_what_they_say_in_plain_hugging_face(
    session: Session, plain: PlainSmolLM2, rows: list[dict[str, Any]]
) -> None:
    baselines = session.experiment.test.baselines
    for index, row in enumerate(rows):
        own = plain.logits(row["clean"], row["roles"], None)
        spliced = plain.logits(row["clean"], row["roles"], lambda _, __, activations: activations)
        assert float(baselines.plain.logit_diff[index]) == pytest.approx(plain.difference(row, own), **CLOSE)
        assert float(baselines.spliced.logit_diff[index]) == pytest.approx(plain.difference(row, spliced), **CLOSE)
        # KL is over all 49,152 tokens: every logit of M_s counts.
        p, q = own.double().log_softmax(-1), spliced.double().log_softmax(-1)
        assert float(baselines.spliced.kl[index]) == pytest.approx(float((p.exp() * (p - q)).sum()), **CLOSE)


def test_random_circuits_and_what_is_left_without_them(
    session: Session, plain: PlainSmolLM2, rows: list[dict[str, Any]]
) -> None:
    test = session.experiment.test
    own = mean([plain.difference(row, plain.logits(row["clean"], row["roles"], None)) for row in rows])
    empty = mean([plain.difference(row, plain.circuit(row, ())) for row in rows])
    for kept in random_circuits(session):
        nodes = nodes_of(session, kept)
        expected = [plain.difference(row, plain.circuit(row, nodes)) for row in rows]
        without = [plain.difference(row, plain.circuit(row, nodes, removed=True)) for row in rows]
        assert test.measure(kept).result().logit_diff.tolist() == pytest.approx(expected, **CLOSE)
        assert test.measure_removed(kept).result().logit_diff.tolist() == pytest.approx(without, **CLOSE)
        faithfulness = (mean(expected) - empty) / (own - empty)
        assert test.faithfulness(kept).result() == pytest.approx(faithfulness, **CLOSE)


def test_few_nodes_and_what_each_contributes_to_a_prompt(
    session: Session, plain: PlainSmolLM2, rows: list[dict[str, Any]]
) -> None:
    """Behind the last node almost all prompts are alike, and the copies of one that lack a node are not."""
    space = session.problem.space
    few = torch.zeros(len(space), dtype=torch.bool)
    for site in range(len(LAYERS)):
        nodes = torch.tensor(space.of_site(site))
        few[nodes[space.position[nodes] == session.problem.alignment.names.index("subject")][:3]] = True
    nodes = nodes_of(session, few)
    expected = [plain.difference(row, plain.circuit(row, nodes)) for row in rows]
    assert session.experiment.test.measure(few).result().logit_diff.tolist() == pytest.approx(expected, **CLOSE)
    found = contributions(session.problem, few, "test", 0).result()
    for node, value in found.values.items():
        rest = few.clone()
        rest[node] = False
        lacking = plain.difference(rows[0], plain.circuit(rows[0], nodes_of(session, rest)))
        assert value == pytest.approx(expected[0] - lacking, **CLOSE)


def test_toggles_effects_and_the_exported_file(
    session: Session, plain: PlainSmolLM2, rows: list[dict[str, Any]], tmp_path: Path
) -> None:
    own = mean([plain.difference(row, plain.logits(row["clean"], row["roles"], None)) for row in rows])
    empty = mean([plain.difference(row, plain.circuit(row, ())) for row in rows])

    def faithfulness(nodes: set[Node]) -> float:
        return (mean([plain.difference(row, plain.circuit(row, nodes)) for row in rows]) - empty) / (own - empty)

    kept = random_circuits(session)[3]
    session.replace(kept.nonzero()[:, 0].tolist(), "random")
    for node in kept.nonzero()[:3, 0].tolist():
        session.toggle_node(node)
        session.work()
        exact = session.experiment.test.faithfulness(session.kept).result()
        assert exact == pytest.approx(faithfulness(nodes_of(session, session.kept)), **CLOSE)
    few = kept.nonzero()[5:8, 0].tolist()
    session.replace(few, "three nodes")
    while session.work():
        pass
    view = session.view()
    assert view.test is not None
    assert view.test.faithfulness == pytest.approx(faithfulness(nodes_of(session, session.kept)), **CLOSE)
    whole = faithfulness(nodes_of(session, session.kept))
    for node in few:
        rest = session.kept.clone()
        rest[node] = False
        assert view.effect[node] == pytest.approx(whole - faithfulness(nodes_of(session, rest)), **CLOSE)
    file = session.export(tmp_path / "three.circuit.json")
    again = open_session(OpenRequest(circuit=file))
    while again.work():
        pass
    assert not [check.field for check in recheck_circuit(read_circuit(file), again.circuit_file()) if not check.ok]
