"""Why the head that carries an edge looks there: its attention score between the edge's tokens, pair by pair."""

from __future__ import annotations

import torch
from torch import Tensor

from circuit_tui.core.attribution.adjoint import through_heads
from circuit_tui.core.attribution.head_score import head_score
from circuit_tui.core.attribution.parts import Head
from circuit_tui.core.attribution.plain_run import PlainRun
from circuit_tui.core.attribution.score_parts import EdgeScore
from circuit_tui.core.edges.edge_table import CircuitEdges
from circuit_tui.core.edges.effects import edge_by_prompt
from circuit_tui.core.edges.ends import End
from circuit_tui.core.edges.view import EdgeView
from circuit_tui.core.errors import UserError

LEAST_SHARE = 0.01
"""Heads that carry a smaller share of what the strongest one carries are left out."""


@torch.no_grad()
def edge_score(
    edges: CircuitEdges, source: int, target: int, head: Head | None = None, n_parts: int | None = None
) -> EdgeScore:
    """Returns the score of a head that carries the edge from end `source` to end `target`.

    The prompt is the one on which the edge is largest. The query is the target's token; the key is the token from
    which the head moves most there of what the source writes, as other heads have carried it on the way.

    Args:
        edges: of a circuit, computed.
        source, target: numbers of ends.
        head: the strongest of the edge's heads if None.
        n_parts: how many pairs are listed; the rest stands as one.

    Raises:
        UserError: there is no such edge, it is not computed, this head does not carry it, or as `PlainRun` and
            `head_score`.
    """
    edge = next((each for each in edges.view.edges if (each.source, each.target) == (source, target)), None)
    if edge is None:
        raise UserError("there is no such edge, or the edges are not computed yet")
    heads = heads_of(edge)
    name = f"{edges.view.ends[source].name} to {edges.view.ends[target].name}"
    if not heads:
        raise UserError(f"no head carries the edge from {name}")
    if head is not None and head not in heads:
        listed = ", ".join(f"{block}.{number}" for block, number in heads)
        raise UserError(f"head {head[0]}.{head[1]} does not carry the edge from {name}; {listed} do")
    block, number = head or heads[0]
    by_prompt = edge_by_prompt(edges.passes, source, target).abs().nan_to_num(-1.0)
    prompt = int(edges.evaluator.prompts.sort()[0][int(by_prompt.argmax())])
    run, queries, keys = _run(edges, prompt, source, target)
    moved = _moved(run, _written(run, edges.space.ends[source], keys, block), block, number)[queries]
    if not bool((moved > 0).any()):
        raise UserError(f"head {block}.{number} moves nothing of {name} on the prompt on which the edge is largest")
    at = int(moved.argmax())
    query, key = queries[at // moved.shape[1]], at % moved.shape[1]
    return EdgeScore(source, target, heads, prompt, run.texts, head_score(run, block, number, query, key, n_parts))


def heads_of(edge: EdgeView) -> tuple[Head, ...]:
    """Returns the heads that carry an edge, the strongest first."""
    largest = max((abs(share.aligned) for share in edge.heads), default=0.0)
    return tuple(
        (share.block, share.head)
        for share in edge.heads
        if abs(share.aligned) > 0 and abs(share.aligned) >= LEAST_SHARE * largest
    )


def _written(run: PlainRun, end: End, tokens: list[int], block: int) -> Tensor:
    """What a source writes at `tokens`, as it enters a block past the frozen blocks before, `[position, d_model]`."""
    written, depth = torch.zeros_like(run.streams[0]), 0
    if end.kind == "token":
        written[tokens] = run.streams[0][tokens]
    else:
        site = run.sites[end.site]
        depth = site.depth_after
        if end.kind == "error":
            written[tokens] = run.stream_at(end.site).error[tokens]
        else:
            row = site.sae.directions(torch.tensor([end.latent], device=written.device))[0]
            if row.shape != written.shape[1:]:  # of the heads' outputs: through their output weights
                row = row @ run.freezes.heads[site.depth].output.flatten(0, 1)
            written[tokens] = row
    for layer in range(depth, block):
        written = written + through_heads(run, layer, written)
    return written


def _moved(run: PlainRun, written: Tensor, block: int, head: int) -> Tensor:
    """How much of `written` `[position, d_model]` a head moves from each key to each query, `[query, key]`."""
    freezes = run.freezes
    normed = freezes.norms[block].linear(written) / freezes.scales[block][0]
    outputs = normed @ freezes.heads[block].value[head] @ freezes.heads[block].output[head]
    moved: Tensor = freezes.patterns[block][0, head] * outputs.norm(dim=-1)
    return moved


def _run(edges: CircuitEdges, prompt: int, source: int, target: int) -> tuple[PlainRun, list[int], list[int]]:
    """M's run over a prompt of the evaluator's split, and the tokens of the edge's target and source there."""
    problem, split = edges.evaluator.problem, edges.evaluator.split
    prepared, clean = problem.splits[split], problem.prompt_sets[split].clean
    row = int(prepared.answers.rows_of(torch.tensor([prompt], device=prepared.ids.device))[0])
    tokens = clean.tokens[row, : int(clean.lengths[row])]
    run = PlainRun(problem.model, problem.sites, tokens, clean.n_bos)
    ids: Tensor = prepared.ids[row]
    ends = edges.space.ends
    if ends[target].kind == "logits":
        queries = prepared.answers.read_columns[prepared.answers.read_rows == row].tolist()
    else:
        queries = (ids == ends[target].position).nonzero()[:, 0].tolist()
    return run, queries, (ids == ends[source].position).nonzero()[:, 0].tolist()
