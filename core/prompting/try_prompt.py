"""Runs M, M_s, a circuit and the empty circuit on one free prompt."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from circuit_tui.core.evaluation.full_pass import FullPass
from circuit_tui.core.opening.open_problem import OpenedProblem
from circuit_tui.core.prompting.prompt_problem import problem_on
from circuit_tui.core.prompting.report import ActiveNode, FreePrompt, NextToken, PromptReport, PromptRun
from circuit_tui.core.splice.batch import Batch
from circuit_tui.core.splice.problem import Problem
from circuit_tui.core.splice.splice import FullSplice, run_spliced
from circuit_tui.core.tasks.token_text import token_texts

N_LIKELIEST = 5
"""How many next tokens are listed of each run."""


@torch.no_grad()
def try_prompt(opened: OpenedProblem, kept: Tensor, prompt: FreePrompt) -> PromptReport:
    """Returns what the circuit `kept` `[node]` bool makes of `prompt`.

    An ablated node takes the reference of its position among the task's train prompts; M, M_s and the empty circuit are
    run on this prompt. The next token is read behind the prompt's last token.

    Raises:
        UserError: as `problem_on`.
    """
    problem = problem_on(opened, prompt)
    (batch,) = problem.batches("test")
    read = _read_behind(problem, batch)
    plain = problem.splits["test"].plain_logits[batch.reads]
    whole = [FullSplice(site, batch, batch.errors[index]) for index, site in enumerate(problem.sites)]
    spliced = run_spliced(problem.model, problem.sites, batch, whole).result()
    circuit_pass = FullPass(problem, batch)
    circuit = circuit_pass.advance_to(kept, 0).result()
    empty = FullPass(problem, batch).advance_to(torch.zeros_like(kept), 0).result()
    runs = [
        _summary(problem, batch, logits, plain, read, with_answers=prompt.answer is not None)
        for logits in (plain, spliced, circuit, empty)
    ]
    prompts = problem.prompt_sets["test"].clean
    ids = problem.alignment.ids["test", "clean"][0].tolist()
    length = int(prompts.prompt_lengths[0])
    return PromptReport(
        tokens=token_texts(problem.model.tokenizer, prompts.tokens[0, :length].tolist()),
        positions=tuple(problem.alignment.names[at] if at >= 0 else None for at in ids[:length]),
        plain=runs[0],
        spliced=runs[1],
        circuit=runs[2],
        empty=runs[3],
        faithfulness=_share(runs[2], runs[3], runs[0]),
        faithfulness_spliced=_share(runs[2], runs[3], runs[1]),
        active=tuple(_active(problem, circuit_pass, kept, length)),
    )


def _read_behind(problem: Problem, batch: Batch) -> int:
    """The index of the read behind the prompt's last token, in its first row."""
    last = int(problem.prompt_sets["test"].clean.prompt_lengths[0]) - 1
    return int(((batch.read_rows == 0) & (batch.read_columns == last)).nonzero()[0])


def _summary(
    problem: Problem, batch: Batch, logits: Tensor, plain: Tensor, read: int, *, with_answers: bool
) -> PromptRun:
    log_probs, plain_log_probs = logits[read].log_softmax(-1), plain[read].log_softmax(-1)
    kl = float((plain_log_probs.exp() * (plain_log_probs - log_probs)).sum())
    decode: Callable[[list[int]], str] = problem.model.tokenizer.decode
    top = log_probs.exp().topk(min(N_LIKELIEST, log_probs.shape[-1]))
    likeliest = zip(top.indices.tolist(), top.values.tolist(), strict=True)
    return PromptRun(
        tuple(NextToken(decode([token]), probability) for token, probability in likeliest),
        max(0.0, kl),  # of M itself it is zero but for rounding
        float(batch.logit_difference(logits)[0]) if with_answers else None,
    )


def _share(circuit: PromptRun, empty: PromptRun, whole: PromptRun) -> float | None:
    """The faithfulness on one prompt: the part of the gap between ∅ and `whole` that the circuit closes."""
    if circuit.logit_diff is None or empty.logit_diff is None or whole.logit_diff is None:
        return None
    gap = whole.logit_diff - empty.logit_diff
    return (circuit.logit_diff - empty.logit_diff) / gap if abs(gap) > 1e-6 else None


def _active(problem: Problem, circuit_pass: FullPass, kept: Tensor, length: int) -> list[ActiveNode]:
    """The kept nodes that fire on the prompt under the circuit itself."""
    found = []
    split = problem.splits["test"]
    for index, site in enumerate(problem.sites):
        nodes = problem.space.kept_of_site(kept, index)
        activations = site.sae.encode(circuit_pass.sae_input(index)[0])
        for token in range(length):
            position = int(split.ids[0, token])
            row = int(split.reference_rows[0, token])
            for node in nodes[problem.space.position[nodes] == position].tolist() if position >= 0 else []:
                latent = int(problem.space.latent[node])
                value = float(activations[token, latent])
                if value != 0:
                    reference = float(problem.reference_tables[index].values[row, latent])
                    found.append(ActiveNode(node, token, value, reference))
    return found
