"""What is offered where the splice costs much: shares against plain hooks with those SAEs alone, and what is said."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from naive import Naive
from tiny.models_with_saes import TinyModel
from tiny.problems import open_problem
from tiny.tasks import TASKS

from circuit_tui.core.choices import ErrorsKind
from circuit_tui.core.circuits.schema import TaskSource
from circuit_tui.core.evaluation.evaluator import Evaluator
from circuit_tui.core.opening.experiment import Experiment
from circuit_tui.core.opening.open_problem import OpenedProblem
from circuit_tui.core.opening.splice_offers import SpliceOffer, SpliceOffers, splice_offers


def opened(tiny_model: TinyModel, errors: ErrorsKind = "drop") -> Experiment:
    problem = open_problem(tiny_model, TASKS["roles"], "each", "mean", errors, batch_size=3)
    source = TaskSource(kind="file", path="x")
    return Experiment(OpenedProblem(problem, "tiny", source), Evaluator(problem, "train"), Evaluator(problem, "test"))


def share(tiny_model: TinyModel, chosen: tuple[int, ...]) -> float:
    """m(M_s) / m(M) with the SAEs number `chosen` alone, one prompt at a time."""
    task = TASKS["roles"]
    naive = Naive(tiny_model.folder, [tiny_model.sae_folders[index] for index in chosen], task, "each", "mean", "drop")
    prompts = range(len(task.split("test")))
    left = sum(naive.measure("test", prompt, naive.spliced("test", prompt))[0] for prompt in prompts)
    return left / sum(naive.measure("test", prompt, naive.unspliced("test", prompt))[0] for prompt in prompts)


@pytest.mark.parametrize("shape", ["gpt2", "llama"])
def test_every_share_is_that_of_plain_hooks(tiny_model: Callable[[str], TinyModel], shape: str) -> None:
    tiny = tiny_model(shape)
    found = splice_offers(opened(tiny))
    assert found is not None, "random SAEs cost much"
    every = tuple(range(len(tiny.sites)))
    assert found.kept == pytest.approx(share(tiny, every), rel=1e-3, abs=1e-4)
    assert found.n_prompts == 4
    short = {site.short: index for index, site in enumerate(tiny.sites)}
    *by_sites, last = found.offers
    for offer in by_sites:
        chosen = tuple(short[name] for name in offer.sites)
        assert offer.flag == f"--sites {','.join(offer.sites)}"
        assert offer.kept == pytest.approx(share(tiny, chosen), rel=1e-3, abs=1e-4)
        assert offer.kept > found.kept
        # Of as many sites none keeps more.
        assert offer.kept >= max(share(tiny, each) for each in _of_size(every, len(chosen))) - 1e-3
    assert (last.flag, last.kept) == ("--errors keep", 1.0)


def _of_size(every: tuple[int, ...], size: int) -> list[tuple[int, ...]]:
    if size == 1:
        return [(one,) for one in every]
    return [tuple(index for index in every if index != gone) for gone in every]


def test_of_a_single_site_fewer_sites_are_no_offer(tiny_model: Callable[[str], TinyModel]) -> None:
    tiny = tiny_model("llama")
    found = splice_offers(opened(replace(tiny, sites=tiny.sites[:1], sae_folders=tiny.sae_folders[:1])))
    assert found is not None, "random SAEs cost much"
    assert found.kept == pytest.approx(share(tiny, (0,)), rel=1e-3, abs=1e-4)
    assert found.offers == (SpliceOffer("--errors keep", 1.0),)


def test_with_its_errors_kept_the_splice_costs_nothing_and_nothing_is_offered(
    tiny_model: Callable[[str], TinyModel],
) -> None:
    experiment = opened(tiny_model("llama"), "keep")
    baselines = experiment.test.baselines
    torch.testing.assert_close(baselines.spliced.logit_diff, baselines.plain.logit_diff, rtol=0, atol=1e-4)
    assert splice_offers(experiment) is None


def test_what_is_said() -> None:
    offers = (SpliceOffer("--sites L12", 0.86, ("L12",)), SpliceOffer("--errors keep", 1.0))
    found = SpliceOffers(0.57, 32, offers, 0.6)
    assert found.lines(0.95) == (
        "With all SAEs spliced in and every latent kept, 0.57 of the logit difference is left (on 32 held-out "
        "prompts). What would leave more: --sites L12 keeps 0.86; --errors keep keeps 1.00.",
        "Or search for 0.95 of what the SAEs leave: --target 0.570.",
    )
    assert len(replace(found, spliced=1.3).lines(0.95)) == 1, "no target is offered where M_s has more than M"
