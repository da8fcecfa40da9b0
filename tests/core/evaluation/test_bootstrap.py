"""The bootstrap interval: against samples drawn one by one, against theory, and on twins."""

from __future__ import annotations

import math
import random

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from circuit_tui.core.evaluation.bootstrap import FEWEST_CLUSTERS, ratio_interval


def drawn_one_by_one(above: list[float], below: list[float], cluster: list[int], draws: int) -> tuple[float, float]:
    """The same interval in plain Python: whole clusters drawn with replacement, the ratio of means of their prompts."""
    prompts: dict[int, list[int]] = {}
    for prompt, number in enumerate(cluster):
        prompts.setdefault(number, []).append(prompt)
    dice, ratios = random.Random(1), []
    for _ in range(draws):
        sample = [prompt for number in dice.choices(list(prompts), k=len(prompts)) for prompt in prompts[number]]
        ratios.append(np.mean([above[i] for i in sample]) / np.mean([below[i] for i in sample]))
    low, high = np.percentile(ratios, [2.5, 97.5])
    return float(low), float(high)


@pytest.mark.parametrize("twins", [False, True])
def test_against_samples_drawn_one_by_one(twins: bool) -> None:
    draw = np.random.default_rng(3)
    below = draw.normal(4, 1, 40)
    above = below * draw.normal(0.9, 0.2, 40)
    cluster = [i // 2 if twins else i for i in range(40)]
    ours = ratio_interval(torch.tensor(above), torch.tensor(below), torch.tensor(cluster), draws=20_000)
    theirs = drawn_one_by_one(list(above), list(below), cluster, 4000)
    assert ours == pytest.approx(theirs, abs=0.006)  # the percentiles of 4,000 samples scatter by about 0.001


def test_against_the_standard_error_of_a_mean() -> None:
    """With a constant denominator the ratio is a mean, whose interval is about 1.96 standard errors to each side."""
    above = torch.tensor(np.random.default_rng(0).normal(0.8, 0.3, 400))
    low, high = ratio_interval(above, torch.ones(400), torch.arange(400), draws=20_000) or (math.nan, math.nan)
    error = float(above.std(correction=0)) / math.sqrt(400)
    assert (high - low) / 2 == pytest.approx(1.96 * error, rel=0.03)
    assert (high + low) / 2 == pytest.approx(float(above.mean()), abs=error / 10)


def test_twins_whose_errors_cancel_leave_nothing_open() -> None:
    """One twin is as much too high as the other is too low: together they say the same in every sample."""
    above = torch.tensor([0.5, 1.5] * 10)
    together, apart = torch.arange(20) // 2, torch.arange(20)
    assert ratio_interval(above, torch.ones(20), together) == (1.0, 1.0)
    low, high = ratio_interval(above, torch.ones(20), apart) or (1.0, 1.0)
    assert low < 0.9 < 1.1 < high


@given(
    ratios=st.lists(st.floats(-2, 2), min_size=FEWEST_CLUSTERS, max_size=12),
    scale=st.floats(0.1, 10),
    seed=st.integers(0, 3),
)
def test_it_lies_within_the_ratios_of_clusters_and_knows_no_unit(ratios: list[float], scale: float, seed: int) -> None:
    below = torch.linspace(1, 2, len(ratios), dtype=torch.float64)
    above, cluster = torch.tensor(ratios, dtype=torch.float64) * below, torch.arange(len(ratios))
    interval = ratio_interval(above, below, cluster, draws=50, seed=seed)
    assert interval is not None
    assert min(ratios) - 1e-9 <= interval[0] <= interval[1] <= max(ratios) + 1e-9
    assert ratio_interval(above * scale, below * scale, cluster, draws=50, seed=seed) == pytest.approx(interval)


def test_there_is_none_from_few_clusters_or_without_a_gap() -> None:
    values = torch.ones(6)
    assert ratio_interval(values, values, torch.tensor([0, 0, 1, 1, 2, 2])) is None
    assert ratio_interval(values, torch.zeros(6), torch.arange(6)) is None
    assert ratio_interval(values[:0], values[:0], torch.arange(0)) is None


def test_many_prompts_are_drawn_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    above, below = torch.linspace(0, 1, 30), torch.linspace(1, 2, 30)
    whole = ratio_interval(above, below, torch.arange(30), draws=64)
    monkeypatch.setattr("circuit_tui.core.evaluation.bootstrap._VALUES_AT_ONCE", 30 * 7)
    assert ratio_interval(above, below, torch.arange(30), draws=64) == pytest.approx(whole)
