"""Views of the test prompts: how far the circuit is from the model on each, and which of its nodes fire there."""

from __future__ import annotations

import torch

from circuit_tui.core.evaluation.live_circuit import LiveCircuit
from circuit_tui.core.opening.attention_sinks import sink_columns
from circuit_tui.core.tasks.token_text import token_texts
from circuit_tui.core.views import PromptRow, PromptsView, PromptView


def prompts_view(live: LiveCircuit, version: int) -> PromptsView:
    """Returns all prompts of the split of `live`, the worst first."""
    rows = [_row(live, index) for index in range(len(live.measured.logit_diff))]
    rows.sort(key=lambda row: (row.circuit > 0, -abs(row.circuit - row.plain)))
    return PromptsView(version, tuple(rows))


@torch.no_grad()
def prompt_view(live: LiveCircuit, index: int) -> PromptView:
    """Returns prompt number `index`, and the kept nodes that fire on it under the current circuit, strongest first."""
    evaluator = live.evaluator
    problem = evaluator.problem
    side = problem.prompt_sets[evaluator.split].clean
    row = index * problem.prompt_sets[evaluator.split].answers.rows_per_prompt
    ids = problem.alignment.ids[evaluator.split, "clean"][row]
    tokens = token_texts(problem.model.tokenizer, side.tokens[row, side.n_bos : side.lengths[row]].tolist())
    active, sinks = [], dict[int, tuple[str, ...]]()
    for site, sae in enumerate(site.sae for site in problem.sites):
        x = live.sae_input(site, index)
        for column in sink_columns(problem, site, x, ids[: len(x)]):
            token = column - side.n_bos
            sinks[token] = (*sinks.get(token, ()), problem.sites[site].short)
        activations = sae.encode(x)
        for node in problem.space.of_site(site):
            if not live.kept[node]:
                continue
            columns = (ids[: len(x)] == problem.space.position[node]).nonzero()[:, 0].tolist()
            values = [(float(activations[column, problem.space.latent[node]]), column) for column in columns]
            value, column = max(values, default=(0.0, side.n_bos))
            if value > 0:
                active.append((node, tokens[column - side.n_bos], value))
    active.sort(key=lambda entry: -entry[2])
    return PromptView(_row(live, index), tokens, tuple(active), sinks)


def _row(live: LiveCircuit, index: int) -> PromptRow:
    evaluator = live.evaluator
    pair = evaluator.problem.prompt_sets[evaluator.split].pairs[index]
    baselines = evaluator.baselines
    return PromptRow(
        index=index,
        text=pair.clean,
        answer=pair.answer,
        wrong=pair.wrong,
        plain=float(baselines.plain.logit_diff[index]),
        spliced=float(baselines.spliced.logit_diff[index]),
        circuit=float(live.measured.logit_diff[index]),
    )
