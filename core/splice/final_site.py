"""A site behind the last block: only its tokens at which answers are read matter.

The blocks before it can then run as they do before the final norm, with a last MLP that sees those tokens alone
(`LanguageModel.final_resid`).
"""

from __future__ import annotations

from torch import Tensor

from circuit_tui.core.models.block_runner import BlockRunner
from circuit_tui.core.models.language_model import LanguageModel
from circuit_tui.core.saes.site import Site
from circuit_tui.core.splice.hook_patch import HookPatch


def is_final(runner: BlockRunner, model: LanguageModel, site: Site) -> bool:
    """Whether `logits_from` can splice `site` in: it is on the stream that leaves the last block.

    `runner` runs the blocks; only `model` itself runs them for the tokens that are read alone.
    """
    return site.inside is None and site.depth == model.n_layers and runner is model


def logits_from(
    model: LanguageModel, patch: HookPatch, resid: Tensor, start: int, columns: Tensor, rows: Tensor
) -> Tensor:
    """Like `LanguageModel.logits_from`, with `patch` on the stream that leaves the last block.

    `patch` gets the whole stream `[row, position, d_model]`, which is right at the reads `rows`, `columns` `[read]`
    alone; nothing else of its result is used.
    """
    resid = model.final_resid(resid, start, columns, rows).to(model.device)
    return model.logits(patch(resid, resid), columns, rows)
