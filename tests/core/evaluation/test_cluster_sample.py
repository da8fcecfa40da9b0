"""The regression estimator: against least squares and exact means, and on twins that only whole clusters tell right."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from circuit_tui.core.evaluation.cluster_sample import ClusterSample, clusters, t_quantile
from circuit_tui.core.evaluation.metrics import Baselines, PromptMetrics
from circuit_tui.core.evaluation.sampled_estimate import WIDEST, estimate_metrics
from circuit_tui.core.tasks.task import Pair

N_TWINS = 60
ONE = torch.ones(())


def twins(n: int = N_TWINS) -> list[Pair]:
    """`n` prompts with their twins; all first ones stand before all second ones."""
    first = [Pair(f"the key {i}", f"the keys {i}", " is", " are") for i in range(n)]
    return first + [Pair(pair.corrupt, pair.clean, pair.wrong, pair.answer) for pair in first]


def test_a_prompt_and_its_twin_are_one_cluster() -> None:
    lone = Pair("a door", "a wall", " is", " are")
    again = Pair("the key 0", "the keys 0", " was", " were")
    numbers = clusters([*twins(3), lone, again]).tolist()
    assert numbers == [0, 1, 2, 0, 1, 2, 3, 0]


@pytest.mark.parametrize("size", [8, 9, 31, 60])
def test_whole_clusters_are_drawn(size: int) -> None:
    cluster = clusters(twins())
    for seed in range(5):
        where = ClusterSample(cluster, size, seed).where
        assert len(where) == size // 2 * 2
        assert where.equal(where.sort()[0])
        drawn = cluster[where]
        assert torch.bincount(drawn).unique().tolist() == [0, 2]


def test_every_cluster_is_drawn_equally_often() -> None:
    cluster = clusters(twins(10))
    counts = sum(torch.bincount(cluster[ClusterSample(cluster, 8, seed).where], minlength=10) for seed in range(500))
    assert isinstance(counts, Tensor)
    # 200 of 500 draws expected, standard deviation 11.
    assert bool(((counts / 2 - 200).abs() < 4 * 11).all())


def test_too_few_clusters_are_no_sample() -> None:
    with pytest.raises(ValueError, match="3 clusters"):
        ClusterSample(clusters(twins()), 7)


def test_the_estimate_is_that_of_weighted_least_squares() -> None:
    """Clusters of one and two prompts, weighted by the inverse of their size, and the jackknife (HC3)."""
    draw = np.random.default_rng(3)
    cluster = clusters(twins(20)[:33])
    known, auxiliary, seen = (torch.from_numpy(draw.normal(size=33)) for _ in range(3))
    after = known + 0.3 * auxiliary + 0.2 * seen
    sample = ClusterSample(cluster, 16)
    estimate = sample.estimate(known, after[sample.where], auxiliary, ONE.expand(33))

    drawn = sorted(set(cluster[sample.where].tolist()))
    members = [(cluster == number).numpy() for number in drawn]
    n = np.array([here.sum() for here in members], dtype=float)
    x = np.array([auxiliary.numpy()[here].sum() for here in members])
    t = np.array([(after - known).numpy()[here].sum() for here in members])
    assert set(n) == {1.0, 2.0}
    design, weight = np.stack([n, x], 1), np.diag(1 / n)
    solve = np.linalg.inv(design.T @ weight @ design) @ design.T @ weight
    point = np.array([1.0, float(auxiliary.mean())])
    residuals, leverage = t - design @ solve @ t, np.diag(design @ solve)
    terms = (point @ solve * residuals / (1 - leverage)) ** 2
    share = len(drawn) / len(set(cluster.tolist()))
    assert estimate.mean == pytest.approx(float(known.mean()) + point @ solve @ t)
    assert estimate.standard_error == pytest.approx(((1 - share) * (terms.sum() + terms.max())) ** 0.5)
    assert estimate.degrees == len(drawn) - 2
    assert float(estimate.values.mean()) == pytest.approx(estimate.mean)


def test_equal_auxiliary_values_and_a_lone_lever_leave_the_slope_out() -> None:
    known, auxiliary = torch.zeros(120), torch.ones(120)
    change = torch.arange(120.0)
    sample = ClusterSample(clusters(twins()), 20)
    assert sample.estimate(known, change[sample.where], change, ONE.expand(120)).degrees == 8
    assert sample.estimate(known, change[sample.where], auxiliary, ONE.expand(120)).degrees == 9
    auxiliary[sample.where[0]] = 50
    estimate = sample.estimate(known, change[sample.where], auxiliary, None)
    assert estimate.degrees == 9
    assert estimate.mean == pytest.approx(float(change[sample.where].mean()))


def test_all_prompts_have_no_error() -> None:
    known, after = torch.randn(2, 20, generator=torch.Generator().manual_seed(0)).double()
    estimate = ClusterSample(clusters(twins(10)), 20).estimate(known, after, after, ONE.expand(20))
    assert (estimate.standard_error, estimate.half_width) == (0, 0)
    assert estimate.mean == pytest.approx(float(after.mean()))


def test_what_a_sample_has_not_met_bounds_its_interval() -> None:
    """One prompt moves far: whether it is in the sample or not, the interval holds the exact change."""
    cluster, known, way = clusters(twins()), torch.zeros(120).double(), torch.zeros(120).double()
    draw = torch.Generator().manual_seed(2)
    moved = 0.01 + 0.02 * torch.rand(120, generator=draw, dtype=torch.float64)
    moved[17] = 30.0
    change = -0.4 * moved * (1 + 0.1 * torch.rand(120, generator=draw, dtype=torch.float64))
    without = 0
    for seed in range(40):
        sample = ClusterSample(cluster, 16, seed)
        estimate = sample.estimate(known, change[sample.where], way, moved)
        error = abs(estimate.mean - float(change.mean()))
        if 17 not in sample.where:
            without += error > 2 * t_quantile(estimate.degrees) * estimate.standard_error
        assert error <= 1.5 * estimate.half_width
    assert without > 25, "the standard error alone does not know of the prompt"


def test_the_unmet_share_is_that_of_the_rule_of_three() -> None:
    cluster, known = torch.arange(100), torch.zeros(100).double()
    sample = ClusterSample(cluster, 30)
    estimate = sample.estimate(known, torch.full((30,), -0.2), known, torch.full((100,), 7.0))
    share = 1 - 0.05 ** (1 / 30)
    assert share == pytest.approx(3 / 30, rel=0.06)
    assert estimate.unmet == pytest.approx(share * 0.2 * 70 / 100)
    assert estimate.half_width == estimate.unmet > estimate.standard_error
    missed = sum(not ClusterSample(cluster, 30, seed).where.lt(share * 100).any() for seed in range(1000)) / 1000
    assert missed < 0.05, "a share as large as that is missed in 5% of the samples, without replacement less often"


def test_where_nothing_moves_the_numbers_stay_and_where_only_others_move_nothing_is_known() -> None:
    known = torch.randn(120, generator=torch.Generator().manual_seed(0)).double()
    sample = ClusterSample(clusters(twins()), 20)
    still = sample.estimate(known, known[sample.where], -known, torch.zeros(120))
    assert still.mean == pytest.approx(float(known.mean()), abs=1e-12)
    assert still.half_width == 0
    outside = torch.ones(120)
    outside[sample.where] = 0
    for moved in (outside, None):
        assert sample.estimate(known, known[sample.where], -known, moved).half_width == float("inf")


@pytest.mark.parametrize(
    ("degrees", "quantile"), [(2, 4.3027), (3, 3.1824), (4, 2.7764), (7, 2.3646), (30, 2.0423), (120, 1.9799)]
)
def test_student_quantiles_are_those_of_the_tables(degrees: int, quantile: float) -> None:
    assert t_quantile(degrees) == pytest.approx(quantile, rel=1e-2)


def metrics_of(logit_diff: Tensor) -> PromptMetrics:
    return PromptMetrics(logit_diff, torch.ones(len(logit_diff)), torch.ones(len(logit_diff)))


def test_twins_that_cancel_in_the_empty_circuit() -> None:
    """A node carries everything: without it a prompt says one and the same thing, right for it or for its twin."""
    draw = torch.Generator().manual_seed(1)
    bias = 3 + torch.randn(N_TWINS, generator=draw)
    empty = torch.cat([bias, -bias])
    full = torch.full((2 * N_TWINS,), 2.0) + 0.1 * torch.randn(2 * N_TWINS, generator=draw)
    baselines = Baselines(metrics_of(full), metrics_of(full), metrics_of(empty))
    exact = baselines.faithfulness(float(empty.double().mean()))
    alone = torch.arange(2 * N_TWINS)  # each prompt a cluster: twins taken apart
    far, moved = 0, ONE.expand(2 * N_TWINS)
    for seed in range(50):
        for size in (8, 20, 40):
            sample = ClusterSample(clusters(twins()), size, seed)
            estimate = estimate_metrics(sample, baselines, metrics_of(full), metrics_of(empty[sample.where]), moved)
            error = abs(estimate.metrics.faithfulness - exact)
            assert estimate.errors.faithfulness is None or error <= WIDEST
            assert error <= estimate.faithfulness.half_width
        apart = ClusterSample(alone, 8, seed).where
        far += abs(baselines.faithfulness(float(full.mean() + (empty - full)[apart].mean())) - exact) > 0.3
    assert far > 15, "the case misleads whoever takes twins apart"
