"""Attention sinks: tokens whose residuals are far longer than usual are found, at their site, and told."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from tiny.models_with_saes import TinyModel
from tiny.problems import open_problem
from tiny.tasks import TASKS

from circuit_tui.core.opening.attention_sinks import attention_sinks, sink_columns, sink_warnings


def test_long_residuals_are_sinks_at_their_site_alone(tiny_model: Callable[[str], TinyModel]) -> None:
    problem = open_problem(tiny_model("llama"), TASKS["roles"], "each", "mean", "drop", batch_size=3)
    side, ids = problem.prompt_sets["train"].clean, problem.alignment.ids["train", "clean"]
    first, second = (inputs / inputs.norm(dim=-1, keepdim=True) for inputs in problem.spliced_sae_inputs)
    plain = replace(problem, spliced_sae_inputs=(first, second))
    assert attention_sinks(plain) == ()
    assert sink_warnings(plain) == ()
    long = second.clone()
    long[0, 2] *= 40
    long[0, 0] *= 1000  # BOS is never spliced: it is no sink of these
    long[1, int(side.lengths[1]) :] *= 1000  # nor is padding
    (sink,) = attention_sinks(replace(problem, spliced_sae_inputs=(first, long)))
    token, position = int(side.tokens[0, 2]), int(ids[0, 2])
    same = int(((side.tokens == token) & (ids == position)).sum())
    assert (sink.site, sink.position) == (1, problem.alignment.names[position])
    assert sink.token == problem.model.tokenizer.decode([token]).strip()
    assert sink.ratio == pytest.approx(40, rel=1e-5)
    assert sink.share == pytest.approx(1 / same)
    (said,) = sink_warnings(replace(problem, spliced_sae_inputs=(first, long)))
    assert said.startswith(f"At {problem.sites[1].short} some tokens have residuals up to 40 times as long as usual ('")
    for row, marked in ((0, [2]), (1, [])):
        assert sink_columns(replace(problem, spliced_sae_inputs=(first, long)), 1, long[row], ids[row]) == marked
    assert torch.equal(problem.spliced_sae_inputs[0].isnan(), torch.zeros_like(first, dtype=torch.bool))
