"""The direct push of nodes on the answers: what they write changes right minus wrong by that, past all later blocks.

For a node of latent i, with activation A, reference r and decoder direction d_i, on a prompt p whose answers are read
at one of the node's tokens,

    push_p = (A - r) (g * (d_i - c mean(d_i))) @ (W_U[:, right_p] - W_U[:, wrong_p]) / s_p

with the final norm as in `models/readout.py` and its scale s_p held at that of M. This is direct logit attribution
(Elhage et al. 2021, "A Mathematical Framework for Transformer Circuits"). It is what M's own unembedding makes of the
direction, as if no later site stood in its way, before a soft cap. The push of a node is the mean over all clean train
prompts, 0 on those where no answer is read at its tokens. Of an answer of several tokens only the first one counts in
which right and wrong differ. A is taken under M_s.
"""

from __future__ import annotations

import torch
from torch import Tensor

from circuit_tui.core.latents.clean_against_corrupt import MAX_ACTIVATIONS, latent_activations
from circuit_tui.core.models.left_padding import runner_for
from circuit_tui.core.models.readout import Readout
from circuit_tui.core.runtime.incremental import Increments, incremental
from circuit_tui.core.runtime.out_of_memory import halve_prompts, retry_halved
from circuit_tui.core.splice.hook_patch import output_direction
from circuit_tui.core.splice.problem import Problem

PROMPTS_A_TURN = 64
"""The most prompts that M runs on in a turn: a toggle waits for a turn that has begun."""


@incremental
def answer_push(problem: Problem, readout: Readout) -> Increments[Tensor]:
    """Returns the push `[node]` of every candidate in logits, NaN where no answer is read; one batch or site a turn.

    Raises:
        OutOfMemory: not even one prompt at a time fits.
    """
    split, limit = problem.splits["train"], min(problem.batch_size or PROMPTS_A_TURN, PROMPTS_A_TURN)

    def halve(error: BaseException) -> None:
        nonlocal limit
        limit = halve_prompts(min(limit, len(split)), "the push on the answers", error)

    directions = yield from retry_halved(lambda: _scaled_answer_directions(problem, readout, limit), halve)
    rows = torch.arange(len(split), device=split.ids.device) * split.answers.rows_per_prompt
    columns = split.answers.difference_column
    ids, reference_rows = split.ids[rows, columns], split.reference_rows[rows, columns]
    push = torch.full((len(problem.space),), float("nan"))
    for site in range(len(problem.sites)):
        yield
        x = problem.spliced_sae_inputs[site][rows, columns]
        push_of_site(problem, site, x, ids, reference_rows, directions, push)
    return push


@torch.no_grad()
def push_of_site(
    problem: Problem, site: int, x: Tensor, ids: Tensor, reference_rows: Tensor, directions: Tensor, push: Tensor
) -> None:
    """Fills in the nodes of one site in `push` `[node]`.

    `x` `[prompt, d_in]`, `ids` and `reference_rows` `[prompt]` belong to the tokens at which the answers are read;
    `directions` `[prompt, d_model]` has the answers' directions over the norm's scale.
    """
    space, sae, nodes = problem.space, problem.sites[site].sae, problem.space.of_site(site)
    position = space.position[nodes.start : nodes.stop]
    read = torch.isin(position, ids.cpu())
    chosen = read.nonzero()[:, 0] + nodes.start
    latents, slot = space.latent[chosen].unique(return_inverse=True)
    if not len(latents):
        return
    device = x.device
    written = output_direction(problem.model, problem.sites[site], sae.directions(latents.to(device))).float()
    per_position = torch.zeros(problem.n_positions, len(latents), device=device)
    columns = latents.to(device)
    for prompts in torch.arange(len(x), device=device).split(max(1, MAX_ACTIVATIONS // sae.d_sae)):
        part = prompts[ids[prompts] >= 0]
        delta = latent_activations(problem, site, latents, x[part])
        delta = delta - problem.reference_tables[site].values[reference_rows[part]][:, columns]
        if sae.transform is not None:
            delta = delta * sae.transform.scale(torch.ones_like(x[part, :1].float()), x[part].float())
        per_position.index_add_(0, ids[part], delta * (directions[part] @ written.t()))
    push[chosen] = (per_position / len(x))[space.position[chosen].to(device), slot.to(device)].cpu()


@torch.no_grad()
def _scaled_answer_directions(problem: Problem, readout: Readout, limit: int) -> Increments[Tensor]:
    """Returns the answers' directions `[prompt, d_model]` on the train prompts, over the final norm's scale under M.

    A pass takes at most `limit` prompts.
    """
    model, split = problem.model, problem.splits["train"]
    scale = torch.ones(len(split), device=split.ids.device)
    for batch in problem.batches("train", size=limit):
        resid = runner_for(model, batch.lengths).run_blocks(batch.prefix, problem.sites[0].depth, model.n_layers)
        rows = torch.arange(len(batch), device=resid.device) * batch.answers.rows_per_prompt
        scale[batch.prompts] = readout.scale(resid[rows, batch.answers.difference_column])
        yield
    directions = readout.answer_directions(split.answers.right, split.answers.wrong)
    return directions / scale.unsqueeze(1)
