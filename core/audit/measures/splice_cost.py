"""The price of the SAEs alone: the cross-entropy of M and of M_s, on a text and on the task.

A circuit is a part of M_s. If splicing in the SAEs already changes what the model predicts, the circuit explains that
model and not M. On the text every next token counts, on the task the right answer.

A text is cut into documents at blank lines, and into windows of at most `WINDOW` tokens. Each window starts with BOS if
the tokenizer has one. SAE errors are treated as in the circuit, except that ``mean`` counts as ``drop``: a mean error
belongs to a position of the task, and a text has no such positions.
"""

from __future__ import annotations

import math
import re
from collections import defaultdict
from collections.abc import Generator, Iterator, Sequence
from pathlib import Path

import torch
from torch import Tensor

from circuit_tui.core.audit.audited_circuit import AuditedCircuit
from circuit_tui.core.audit.finding import Finding, Measurement, finite, grade
from circuit_tui.core.audit.texts import read_text
from circuit_tui.core.errors import UserError
from circuit_tui.core.saes.sae import SiteSae
from circuit_tui.core.saes.site import site_groups
from circuit_tui.core.splice.hook_patch import HookPatch, run_patched, sae_input
from circuit_tui.core.splice.problem import Problem

COST_LIMITS = 0.1, math.log(2)
"""Nats a token: a tenth more perplexity, and twice the perplexity."""
WINDOW, BATCH = 128, 8
MAX_TOKENS = 16_384
"""The most tokens of a text that are read: enough for a mean to the second digit, seconds on a small model."""


def on_text(audited: AuditedCircuit) -> Measurement:
    """Measures the cross-entropy of M and of M_s on the text, in nats a token."""
    path = audited.settings.text
    if path is None:
        says = "No text was given (--text FILE; T in the explorer)."
        return Finding("splice-text", "not measured", says)
    sums, count = [0.0, 0.0], 0
    batches = batched(list(windows(audited.problem, read_text(path), path)))
    for index, tokens in enumerate(batches):
        sums[0] += float((yield from _cross_entropy(audited.problem, tokens, spliced=False)).sum())
        sums[1] += float((yield from _cross_entropy(audited.problem, tokens, spliced=True)).sum())
        count += tokens.shape[0] * (tokens.shape[1] - 1)
        yield (index + 1) / len(batches)
    plain, spliced = sums[0] / count, sums[1] / count
    verdict = grade(spliced - plain, *COST_LIMITS)
    return Finding(
        "splice-text", verdict,
        f"On {count} tokens of {path.name}, the SAEs take cross-entropy from {plain:.3f} to {spliced:.3f} nats: "
        f"{_MEANING[verdict]}.",
        {"plain": finite(plain), "spliced": finite(spliced), "cost": finite(spliced - plain), "tokens": count},
    )  # fmt: skip


def on_task(audited: AuditedCircuit) -> Measurement:
    """Measures the cross-entropy of the right answer under M, M_s and the circuit, on held-out prompts."""
    baselines = audited.test.baselines
    measured = yield from audited.test.measure(audited.kept)
    plain, spliced, circuit = (
        float(metrics.cross_entropy.double().mean()) for metrics in (baselines.plain, baselines.spliced, measured)
    )  # fmt: skip
    verdict = grade(abs(spliced - plain), *COST_LIMITS)
    return Finding(
        "splice-task", verdict,
        f"On the held-out prompts, the SAEs take the right answer's cross-entropy from {plain:.3f} to {spliced:.3f} "
        f"nats, the circuit to {circuit:.3f}: {_MEANING[verdict]}.",
        {
            "plain": finite(plain), "spliced": finite(spliced), "circuit": finite(circuit),
            "cost": finite(spliced - plain),
        },
    )  # fmt: skip


def windows(problem: Problem, text: str, path: Path) -> Iterator[Tensor]:
    """Yields the text's tokens window by window, `[1, position]` int64, BOS included; `path` names the text in errors.

    Raises:
        UserError: no window has two tokens, so that there is nothing to predict.
    """
    tokenizer, model = problem.model.tokenizer, problem.model
    bos = [] if tokenizer.bos_token_id is None else [int(tokenizer.bos_token_id)]
    context = getattr(model.bridge.cfg, "n_ctx", None)
    width = min(WINDOW, int(context) if context else WINDOW) - len(bos)
    tokens_left = MAX_TOKENS
    for document in re.split(r"\n\s*\n", text):
        ids = tokenizer.encode(document, add_special_tokens=False)
        for start in range(0, len(ids), width):
            window = bos + ids[start : start + width]
            if len(window) < 2 or tokens_left <= 0:
                continue
            tokens_left -= len(window)
            yield torch.tensor([window]).to(model.device)
    if tokens_left == MAX_TOKENS:
        raise UserError(f"--text {path}: it has no two tokens in a row")


def batched(parts: Sequence[Tensor]) -> list[Tensor]:
    """Returns windows `[1, position]` of equal length in batches `[window, position]` of at most `BATCH`."""
    by_length: dict[int, list[Tensor]] = defaultdict(list)
    for part in parts:
        by_length[part.shape[1]].append(part)
    return [batch for equal in by_length.values() for batch in torch.cat(equal).split(BATCH)]


@torch.no_grad()
def _next_token_loss(problem: Problem, resid: Tensor, tokens: Tensor) -> Tensor:
    """Returns -log p of each token after the first, `[token]`, given the last block's `[window, position, d_model]`."""
    rows = resid[:, :-1].reshape(-1, 1, resid.shape[-1])
    logits = problem.model.logits(rows, torch.zeros(len(rows), dtype=torch.long, device=rows.device))
    return -logits.log_softmax(-1).gather(1, tokens[:, 1:].reshape(-1, 1))[:, 0]


def _cross_entropy(problem: Problem, tokens: Tensor, *, spliced: bool) -> Generator[float | None, None, Tensor]:
    """Returns -log p of every token of `tokens` `[window, position]` but the first, `[token]`, under M or M_s."""
    model, sites = problem.model, problem.sites
    first = 0 if model.tokenizer.bos_token_id is None else 1
    with torch.no_grad():
        plain = model.run_blocks(model.embed(tokens), 0, sites[0].depth)
        resid = plain
        for group in site_groups(sites):
            group_sites = sites[group.start : group.stop]
            next_depth = sites[group.stop].depth if group.stop < len(sites) else model.n_layers
            if not spliced:
                resid = model.run_blocks(resid, group_sites[0].depth, next_depth)
                continue
            patches = []
            for site in group_sites:
                error = None
                if problem.errors == "keep":
                    x, output = sae_input(model, [site], plain)
                    error = output.float() - site.sae.rebuild(site.sae.encode(x), x)
                patches.append(_sae_patch(site.sae, first, error))
            if problem.errors == "keep":
                plain = model.run_blocks(plain, group_sites[0].depth, next_depth)
            resid = run_patched(model, group_sites, resid, patches)
            resid = model.run_blocks(resid, group_sites[0].depth_after, next_depth)
        loss = _next_token_loss(problem, resid, tokens)
    yield None
    return loss


def _sae_patch(sae: SiteSae, first: int, error: Tensor | None) -> HookPatch:
    """Returns the patch of M_s at one site: from token `first` on the SAE's output, with its error if given."""

    def patch(x: Tensor, output: Tensor) -> Tensor:
        rebuilt = sae.rebuild(sae.encode(x), x)
        new = rebuilt if error is None else rebuilt + error
        return torch.cat([output[:, :first], new[:, first:].to(output.dtype)], 1)

    return patch


_MEANING = {
    "good": "M_s is nearly M",
    "doubtful": "what is explained is not quite M",
    "bad": "what is explained is another model than M",
}
