"""Dictionaries that were not learned: what they are, checked by their definitions, and the audit's line about them."""

from __future__ import annotations

import pytest
import torch
from tiny.audits import audited_circuit, finding_of
from tiny.problems import random_circuit

from circuit_tui.core.audit.finding import SearchRun
from circuit_tui.core.audit.measures import dictionaries
from circuit_tui.core.audit.plain_dictionaries import KINDS, site_activations, with_dictionary
from circuit_tui.core.evaluation.evaluator import Evaluator
from circuit_tui.core.splice.problem import Problem


@pytest.mark.parametrize("kind", ["components", "coordinates"])
def test_a_complete_basis_rebuilds_every_activation(problem: Problem, kind: str) -> None:
    other = with_dictionary(problem, kind, 0)
    for site, x in zip(other.sites, site_activations(problem), strict=True):
        activations = site.sae.encode(x)
        torch.testing.assert_close(site.sae.rebuild(activations, x), x, rtol=1e-4, atol=1e-4 * float(x.abs().max()))
        half = site.sae.d_sae // 2
        assert not bool(((activations[:, :half] != 0) & (activations[:, half:] != 0)).any()), "one sign fires at a time"


def test_the_first_component_has_the_largest_variance(problem: Problem) -> None:
    (x, *_), site = site_activations(problem), with_dictionary(problem, "components", 0).sites[0]
    variances = (x - x.mean(0)) @ site.sae.w_dec[: site.sae.d_in].t()
    spread = variances.var(0)
    assert bool((spread[:-1] >= spread[1:] - 1e-4 * spread[0]).all())
    # No direction at random has more.
    directions = torch.nn.functional.normalize(torch.randn(64, x.shape[1], generator=torch.Generator().manual_seed(1)))
    assert float(((x - x.mean(0)) @ directions.t()).var(0).max()) <= float(spread[0]) * 1.0001


def test_random_directions_fire_as_often_as_the_saes_latents(problem: Problem) -> None:
    other = with_dictionary(problem, "random", 3)
    for old, new, x in zip(problem.sites, other.sites, site_activations(problem), strict=True):
        assert new.sae.d_sae == old.sae.d_sae
        wanted, found = ((site.sae.encode(x) != 0).float().sum(-1).mean() for site in (old, new))
        assert float(found) == pytest.approx(float(wanted), abs=0.5)
        block = new.sae.w_dec[: new.sae.d_in]
        gram = block @ block.t()
        scale = float(gram[0, 0])
        torch.testing.assert_close(gram, scale * torch.eye(len(block)), rtol=0, atol=1e-4 * scale)


def test_another_draw_gives_other_directions(problem: Problem) -> None:
    first, again, second = (with_dictionary(problem, "random", draw).sites[0].sae.w_dec for draw in (1, 1, 2))
    assert first.equal(again)
    assert not first.equal(second)


def test_m_is_as_before_and_the_empty_circuit_has_other_references(problem: Problem) -> None:
    other = with_dictionary(problem, "coordinates", 0)
    before, after = Evaluator(problem, "test").baselines, Evaluator(other, "test").baselines
    torch.testing.assert_close(after.plain.logit_diff, before.plain.logit_diff)
    # The coordinates rebuild everything, so that M_s is M; SAE errors are kept here, so that it is with the SAEs too.
    torch.testing.assert_close(after.spliced.logit_diff, after.plain.logit_diff, rtol=1e-3, atol=1e-3)
    assert len(other.space) != len(problem.space)


def _run(kind: str, size: int, *, reached: bool) -> SearchRun:
    return SearchRun(f"dictionary-{kind}", 0, 0, size, 0.9 if reached else 0.3, 0.9, reached, ())


@pytest.mark.parametrize(
    ("sizes", "verdict"),
    [((50, 50, 50), "good"), ((50, 11, 50), "doubtful"), ((50, 50, 10), "bad"), ((None, None, None), "good")],
)
def test_the_smallest_circuit_that_reaches_the_target_decides(
    problem: Problem, monkeypatch: pytest.MonkeyPatch, sizes: tuple[int | None, ...], verdict: str
) -> None:
    runs = iter([_run(kind, size or 3, reached=size is not None) for kind, size in zip(KINDS, sizes, strict=True)])

    def given(audited: object, search: object):  # type: ignore[no-untyped-def]
        yield 1.0
        return next(runs)

    monkeypatch.setattr(dictionaries, "run_search", given)
    kept = torch.zeros(len(problem.space), dtype=torch.bool)
    kept[:10] = True
    audited = audited_circuit(problem, kept, dictionaries=True)
    finding = finding_of(dictionaries.dictionaries(audited))
    assert finding.verdict == verdict
    assert finding.numbers["own_size"] == 10
    assert not finding.decides


def test_the_searches_are_made_with_the_dictionaries(problem: Problem) -> None:
    audited = audited_circuit(problem, random_circuit(problem, 0.2, 0), "atp", dictionaries=True)
    finding = finding_of(dictionaries.dictionaries(audited))
    assert [run.kind for run in finding.runs] == [f"dictionary-{kind}" for kind in KINDS]
    assert all(run.nodes == () for run in finding.runs)
    assert finding.numbers["coordinates_size"] == finding.runs[2].size > 0


def test_without_being_asked_nothing_is_searched(problem: Problem) -> None:
    finding = finding_of(dictionaries.dictionaries(audited_circuit(problem, random_circuit(problem, 0.2, 0))))
    assert (finding.verdict, finding.runs) == ("not measured", ())
