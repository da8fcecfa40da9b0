"""How far a change of a circuit moves each prompt at the site where it sets in: known without running a block."""

from __future__ import annotations

import torch
from torch import Tensor

from circuit_tui.core.evaluation.evaluator import pack_site
from circuit_tui.core.splice.batch import SpliceConstants
from circuit_tui.core.splice.problem import Problem
from circuit_tui.core.splice.splice import BoundPack


def change_size_at(
    problem: Problem, tokens: SpliceConstants, site: int, x: Tensor, kept: Tensor, current: Tensor
) -> Tensor:
    """Returns how far the output of a site moves when `current` becomes `kept`, both `[node]` bool, `[row]` float64.

    That is the length of the sum over the switched nodes of activation minus reference, times decoder row, added up
    over `tokens`; `x` `[row, position, d_in]` is the input of the SAE of site number `site` at them.
    """
    pack = pack_site(problem, kept != current, site, tokens)
    if pack.empty or not tokens.position_groups.n_groups:
        return torch.zeros(len(x), dtype=torch.float64)
    nodes = BoundPack.bind(problem.sites[site], site, tokens, pack)
    signs = torch.cat([kept.float() * 2 - 1, torch.zeros(1)]).to(x.device)  # the last is that of padding
    grouped, transform = nodes.position_groups.group(x.float()), problem.sites[site].sae.transform
    moved = nodes.contribution(grouped, signs[pack.nodes], None)
    moved = moved if transform is None else transform.scale(moved, grouped)
    still = moved.new_zeros(*x.shape[:2], moved.shape[-1])
    lengths = torch.linalg.vector_norm(nodes.position_groups.ungroup(moved, still).double(), dim=-1)
    sizes: Tensor = lengths.sum(-1).cpu()
    return sizes
