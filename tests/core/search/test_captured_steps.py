"""Recorded steps, on a made-up device: the circuit of steps that run as they are, through a kill, and nothing waits."""

from __future__ import annotations

import logging
from collections.abc import Callable
from itertools import islice
from pathlib import Path

import pytest
import torch
from tiny.made_up_graphs import MadeUpGraphs, NoWaiting
from tiny.models_with_saes import TinyModel
from tiny.problems import open_problem
from tiny.searches import SearchableProblem, run_search
from tiny.tasks import TASKS

from circuit_tui.core.circuits.provenance import Provenance
from circuit_tui.core.runtime import device_graphs
from circuit_tui.core.search.held_conditions import HeldFaithfulness
from circuit_tui.core.search.methods import near_nodes
from circuit_tui.core.search.methods.hard_mask import TargetPenalty
from circuit_tui.core.search.methods.mask_step import MaskStep
from circuit_tui.core.search.methods.near_nodes import NearNodes
from circuit_tui.core.search.objective import MaskedModel
from circuit_tui.core.search.search import Search

STEPS = 30


@pytest.fixture
def graphs(monkeypatch: pytest.MonkeyPatch) -> MadeUpGraphs:
    """A made-up device that records what is run on the CPU."""
    made = MadeUpGraphs()
    monkeypatch.setattr(device_graphs, "graphs_on", lambda devices: made)
    return made


class Running:
    """Not a graph: runs the body each time."""

    def __init__(self, body: Callable[[], None]) -> None:
        self.replay = body


class NoGraphs(MadeUpGraphs):
    """A device that records nothing and runs the same steps."""

    def record(self, body: Callable[[], None]) -> Running:  # type: ignore[override]
        return Running(body)


def optimised(search: Search) -> list[tuple[int, float | None, float | None, int]]:
    """Step, loss, soft faithfulness and size of each report of the optimisation."""
    told = [(each.stage, (each.step, each.loss, each.soft, each.size)) for each in islice(search, STEPS)]
    return [numbers for stage, numbers in told if stage == "optimise"]


@pytest.mark.parametrize("name", ["gpt2-each", "llama", "gemma2-each"])
def test_replayed_steps_are_those_that_run(
    searchable: Callable[[str], SearchableProblem], name: str, monkeypatch: pytest.MonkeyPatch, graphs: MadeUpGraphs
) -> None:
    """To the last bit, through a change of the active nodes, and never more than two that nobody has waited for."""
    problem = searchable(name)
    monkeypatch.setattr(near_nodes, "ALL_EVERY", 9)
    replayed = optimised(problem.search(steps=STEPS))
    assert len(replayed) > 20
    assert graphs.log.count("warm up") + graphs.log.count("replay") == len(replayed)
    assert 1 <= graphs.log.count("record") < 6
    assert graphs.most_in_flight == 2
    monkeypatch.setattr(device_graphs, "graphs_on", lambda devices: NoGraphs())
    assert optimised(problem.search(steps=STEPS)) == replayed


def test_they_are_the_steps_of_a_cpu(searchable: Callable[[str], SearchableProblem], graphs: MadeUpGraphs) -> None:
    """As long as the same nodes take part. Where all prompts have one length, so have batches of one shape."""
    problem = searchable("gpt2-each")
    replayed = optimised(problem.search(steps=STEPS))[:24]
    assert "replay" in graphs.log
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(device_graphs, "graphs_on", lambda devices: None)
        on_cpu = optimised(problem.search(steps=STEPS))[:24]
    assert replayed == on_cpu


def test_numbers_are_read_now_and_then(searchable: Callable[[str], SearchableProblem], graphs: MadeUpGraphs) -> None:
    """Only after the steps whose masks are recorded, before a choice of nodes, and after the last."""
    steps, changes = 150, []
    for told in islice(searchable("gpt2-each").search(steps=steps), steps):
        if told.stage == "optimise" and (not changes or changes[-1][1] != told.loss):
            changes.append((told.step - 1, told.loss))
    read = [step for step, _ in changes]
    assert 0 in read
    assert len(read) > 10
    assert all(step % 3 == 0 or (step + 1) % near_nodes.ALL_EVERY == 0 or step == steps - 1 for step in read)


def test_the_result_says_how_steps_ran(
    searchable: Callable[[str], SearchableProblem], monkeypatch: pytest.MonkeyPatch
) -> None:
    for made, path in ((MadeUpGraphs(), "captured"), (None, "")):
        monkeypatch.setattr(device_graphs, "graphs_on", lambda devices, made=made: made)
        search = searchable("gpt2-each").search("mask", 0.8)
        next(search)
        search.stop()
        result, _ = run_search(search)
        assert result.step_path == path
        kept = searchable("gpt2-each").circuit(result.nodes)
        assert Provenance.of_search(result, kept).part(kept).steps == (path or None)


def test_a_search_that_is_killed_goes_on_to_the_same_circuit(
    searchable: Callable[[str], SearchableProblem], graphs: MadeUpGraphs, tmp_path: Path
) -> None:
    problem = searchable("gpt2-each")
    whole = run_search(problem.search("mask", 0.8))[0]
    for steps in (3, 14, 10):  # before and after a choice of nodes, between steps whose numbers are read
        dying = problem.search("mask", 0.8)
        dying.keep(tmp_path)
        assert {told.stage for told in islice(dying, steps)} == {"optimise"}
        dying.save()
        next(dying)  # lost
        graphs.log.clear()
    again = problem.search("mask", 0.8)
    again.keep(tmp_path)
    result = run_search(again)[0]
    assert "replay" in graphs.log
    assert (result.nodes, result.train, result.steps) == (whole.nodes, whole.train, whole.steps)


def test_where_recording_fails_steps_run_as_they_are(
    searchable: Callable[[str], SearchableProblem], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(device_graphs, "graphs_on", lambda devices: NoGraphs())
    expected = optimised(searchable("gpt2-each").search(steps=STEPS))
    monkeypatch.setattr(device_graphs, "graphs_on", lambda devices: MadeUpGraphs(fails=True))
    with caplog.at_level(logging.WARNING, logger="circuit_tui.user"):
        search = searchable("gpt2-each").search(steps=STEPS)
        assert optimised(search) == expected
    assert search.attempt.step_path == "eager"
    (line,) = [record.getMessage() for record in caplog.records if record.name == "circuit_tui.user"]
    assert line.endswith("slower: operation not permitted when recording: another library's.")


def test_uneven_prompts_are_not_padded(
    searchable: Callable[[str], SearchableProblem], graphs: MadeUpGraphs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("circuit_tui.core.search.step_runner.MAX_PADDING", 0.99)
    search = searchable("gpt2-each").search("mask", 0.8)
    next(search)
    assert not graphs.log
    assert search.attempt.step_path == "eager"


@pytest.mark.parametrize(
    ("task", "kind", "ablation", "errors"),
    [
        ("roles", "each", "mean", "drop"),
        ("mixed", "shared", "mean", "keep"),
        ("mixed", "end", "resample", "mean"),
        ("equal-multi", "shared", "zero", "drop"),
    ],
)
def test_a_step_waits_for_nothing_and_takes_few_operations(
    tiny_model: Callable[[str], TinyModel], task: str, kind: str, ablation: str, errors: str
) -> None:
    """Batches of one shape give the numbers of others, and a step on one never asks the device for anything."""
    problem = open_problem(tiny_model("gpt2"), TASKS[task], kind, ablation, errors)  # type: ignore[arg-type]
    on = SearchableProblem.of(problem)
    n = len(problem.splits["train"])
    shape, prompts = problem.batch_shape("train", n - 1), torch.arange(1, n)
    masked = MaskedModel(problem, torch.arange(len(problem.space)))
    found = []
    for batch in (problem.batch("train", prompts), problem.batch("train", prompts, shape)):
        theta = torch.linspace(-1, 1, len(problem.space)).requires_grad_()
        step = MaskStep(theta, TargetPenalty(0.9), HeldFaithfulness(on.train.baselines, theta.device, 0.1), 10, 0.05)
        step(masked, batch)
        found.append((step.loss, step.penalty.smooth, step.adam.state_dict()["first"]))
    (loss, smooth, moment), (fixed_loss, fixed_smooth, fixed_moment) = found
    torch.testing.assert_close(fixed_loss, loss, rtol=1e-4, atol=1e-5)
    assert fixed_smooth == pytest.approx(smooth, abs=1e-5)
    torch.testing.assert_close(fixed_moment, moment, rtol=1e-3, atol=1e-5 * float(moment.abs().max()))
    with NoWaiting() as operations:
        step(masked, problem.batch("train", prompts, shape))
    layers = problem.model.n_layers
    assert operations.n < 250 * layers, operations.n


def test_a_captured_set_of_nodes_stays_until_it_is_twice_too_large(
    searchable: Callable[[str], SearchableProblem],
) -> None:
    problem = searchable("gpt2-each").problem
    n = len(problem.space)
    nodes = NearNodes(problem, MaskedModel(problem, torch.arange(n)), keep=True)

    def after(*away: slice) -> MaskedModel:
        theta = torch.zeros(n)
        for part in away:
            theta[part] = -near_nodes.THETA_LIMIT
        assert nodes.at(25, theta) is nodes._all_nodes
        return nodes.at(26, theta)

    assert after(slice(0, n // 3)) is nodes._all_nodes
    fewer = after(slice(0, n // 2 + 1))
    assert fewer.active.tolist() == list(range(n // 2 + 1, n))
    assert after(slice(0, n // 2 + 3)) is fewer
    back = after(slice(1, n // 2 + 1))
    assert back.active.tolist() == [0, *range(n // 2 + 1, n)]
