"""Completeness, subsets, ablations and averages: checked against the oracle, and on bad circuits."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from tiny.audits import Oracle, audited_circuit, finding_of, nodes_kept, with_unseen
from tiny.models_with_saes import TinyModel
from tiny.problems import names_of_nodes, open_naive, open_problem, random_circuit
from tiny.solvable_task import solvable_task

from circuit_tui.core.audit.measures import ablations, completeness
from circuit_tui.core.choices import ABLATIONS, AblationKind, PositionsKind
from circuit_tui.core.evaluation.metrics import Baselines, PromptMetrics
from circuit_tui.core.runtime.incremental import Incremental
from circuit_tui.core.splice.problem import Problem


def test_completeness_is_that_of_the_oracle(problem: Problem, oracle: Oracle) -> None:
    kept = random_circuit(problem, 0.5, 1)
    nodes = names_of_nodes(problem, kept)
    numbers = finding_of(completeness.without_circuit(audited_circuit(problem, kept))).numbers
    assert numbers["completeness"] == pytest.approx(oracle.faithfulness("test", nodes, invert=True), abs=1e-4)
    latents = {(site, latent) for site, _, latent in nodes}
    every = {
        (site, position, latent)
        for site, position, latent in names_of_nodes(problem, torch.ones_like(kept))
        if (site, latent) in latents
    }
    assert every > nodes, "the circuit has a latent at some of its positions only"
    at_every = oracle.faithfulness("test", every, invert=True)
    assert numbers["at_every_position"] == pytest.approx(at_every, abs=1e-4)


def test_an_incomplete_circuit_is_refused(problem: Problem) -> None:
    """The circuit is one node: nearly all of the behaviour is left without it."""
    everything = torch.ones(len(problem.space), dtype=torch.bool)
    whole = finding_of(completeness.without_circuit(audited_circuit(problem, everything)))
    assert whole.verdict == "good"
    # Not 0: latents that fire on held-out prompts alone are no candidates.
    assert whole.numbers["completeness"] == pytest.approx(0, abs=0.02)
    one = finding_of(completeness.without_circuit(audited_circuit(problem, nodes_kept(problem, 0))))
    assert one.verdict == "bad"
    assert one.decides


def test_the_circuit_and_the_model_without_a_part(problem: Problem, oracle: Oracle) -> None:
    kept = random_circuit(problem, 0.3, 2)
    audited, nodes = audited_circuit(problem, kept), names_of_nodes(problem, kept)
    for seed in range(3):
        taken = kept & random_circuit(problem, 0.5, 10 + seed)
        part = names_of_nodes(problem, taken)
        expected = abs(oracle.faithfulness("test", nodes - part) - oracle.faithfulness("test", part, invert=True))
        got = completeness.first_subset_differences(audited, [taken.nonzero()[:, 0]])
        assert Incremental(got).result() == pytest.approx([expected], abs=1e-4)  # type: ignore[arg-type]


def test_the_greedy_part_is_that_of_brute_force(problem: Problem) -> None:
    """The circuit has no more nodes than a step tries, so each step tries all of them."""
    kept = nodes_kept(problem, *range(0, 40, 5))
    audited = audited_circuit(problem, kept, subsets=3)
    nodes = kept.nonzero()[:, 0]

    def apart(part: set[int]) -> float:
        subsets = [torch.tensor(sorted(part), dtype=torch.long)]
        (difference,) = Incremental(
            completeness.first_subset_differences(audited, subsets)  # type: ignore[arg-type]
        ).result()
        return difference

    taken: set[int] = set()
    worst = apart(taken)
    for _ in range(3):
        best = max((int(node) for node in nodes if int(node) not in taken), key=lambda node: apart(taken | {node}))
        taken.add(best)
        worst = max(worst, apart(taken))
    numbers = finding_of(completeness.subsets(audited)).numbers
    assert numbers["greedy_max"] == pytest.approx(worst, abs=1e-5)
    assert numbers["nothing_taken"] == pytest.approx(apart(set()), abs=1e-6)


def test_a_circuit_on_which_the_model_does_not_depend_is_doubted(problem: Problem) -> None:
    whole = audited_circuit(problem, torch.ones(len(problem.space), dtype=torch.bool))
    assert finding_of(completeness.subsets(whole)).verdict == "good"
    part = audited_circuit(problem, random_circuit(problem, 0.15, 4))
    assert finding_of(completeness.subsets(part)).verdict in ("doubtful", "bad")


@pytest.mark.parametrize("kind", ["each", "shared"])
@pytest.mark.parametrize("other", ABLATIONS)
def test_another_ablation_is_that_of_the_oracle(
    tiny_model: Callable[[str], TinyModel], other: AblationKind, kind: PositionsKind
) -> None:
    tiny = tiny_model("gpt2")
    task = with_unseen(solvable_task(tiny, (6,) * 6, (6,) * 6))
    problem = open_problem(tiny, task, kind)
    kept = random_circuit(problem, 0.5, 1)
    (got, *_) = Incremental(ablations.averages_under(audited_circuit(problem, kept, draws=1), other)).result()  # type: ignore[arg-type]
    under = Oracle(open_naive(tiny, open_problem(tiny, task, kind, ablation=other, seed=0)))
    assert got.ratio_of_means == pytest.approx(under.faithfulness("test", names_of_nodes(problem, kept)), abs=1e-3)
    circuit, plain = under.circuit("test", names_of_nodes(problem, kept)), under.plain("test")
    empty = under.circuit("test", set())
    ratios = (circuit - empty) / (plain - empty)
    assert got.mean_of_ratios == pytest.approx(float(ratios.mean()), rel=2e-3, abs=1e-3)


def test_resampling_is_drawn_anew_each_time(problem: Problem) -> None:
    audited = audited_circuit(problem, random_circuit(problem, 0.5, 1), draws=6)
    values = [one.ratio_of_means for one in Incremental(ablations.averages_under(audited, "resample")).result()]  # type: ignore[arg-type]
    assert len(values) == 6
    assert len({round(value, 6) for value in values}) > 1
    numbers = finding_of(ablations.sensitivity(audited)).numbers
    assert numbers["resample_ratio_of_means"] == pytest.approx(sum(values) / 6)
    assert numbers["resample_deviation"] == pytest.approx(float(torch.tensor(values).std()), rel=1e-3)
    own = audited.test.faithfulness(audited.kept).result()
    assert numbers["mean_ratio_of_means"] == pytest.approx(own, abs=1e-4)
    means = [numbers[f"{kind}_ratio_of_means"] for kind in ABLATIONS]
    assert numbers["moved"] == pytest.approx(max(abs(value - own) for value in means if value is not None), abs=1e-5)


def test_a_circuit_that_hangs_on_its_ablation_is_refused(problem: Problem) -> None:
    everything = audited_circuit(problem, torch.ones(len(problem.space), dtype=torch.bool), draws=2)
    assert finding_of(ablations.sensitivity(everything)).verdict == "good"
    part = audited_circuit(problem, random_circuit(problem, 0.4, 3), draws=2)
    assert finding_of(ablations.sensitivity(part)).verdict == "bad"


def test_nothing_to_resample_from_is_said(problem: Problem) -> None:
    """A prompt has a length that no corrupt train prompt has."""
    means = dict(problem.alignment.mean_groups)
    means["test", "clean"] = means["test", "clean"].clone()
    means["test", "clean"][0, -1] = -1
    odd = replace(problem, alignment=replace(problem.alignment, mean_groups=means))
    finding = finding_of(ablations.sensitivity(audited_circuit(odd, random_circuit(problem, 0.5, 1), draws=2)))
    assert finding.numbers["resample_ratio_of_means"] is None
    assert "resample has nothing to draw from" in finding.says


def test_averages_in_closed_form() -> None:
    """The gains are 1 of 2, 2 of 2 and 3 of 10: ratio of means 6/14, mean of ratios (1/2 + 1 + 3/10)/3."""

    def metrics(*values: float) -> PromptMetrics:
        return PromptMetrics(torch.tensor(values), torch.zeros(4), torch.zeros(4))

    empty = metrics(1.0, 1.0, 1.0, 5.0)
    baselines = Baselines(metrics(3.0, 3.0, 11.0, 5.0), metrics(3.0, 3.0, 11.0, 5.0), empty)
    got = ablations.averages(baselines, metrics(2.0, 3.0, 4.0, 5.0))
    assert got.ratio_of_means == pytest.approx(6 / 14)
    assert got.mean_of_ratios == pytest.approx(0.6)  # the fourth prompt gains nothing and has no ratio
    assert got.median_of_ratios == pytest.approx(0.5)
