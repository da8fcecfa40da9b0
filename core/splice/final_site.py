"""A last site behind the last block: there nothing but the places of the answers is read.

The blocks before it can then run as they do before the final norm (`LanguageModel.finish`), whose last MLP sees those
places alone.
"""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from circuit_tui.core.models.language_model import LanguageModel
from circuit_tui.core.saes.site import Site


def is_final(model: LanguageModel, site: Site) -> bool:
    """Whether `site` is on the stream that leaves the last block, and `FinalSiteView` can stand for it."""
    return site.inside is None and site.depth == model.n_layers and model.padding_side == "right"


class FinalSiteView(LanguageModel):
    """A view of `model` that has `patch` at the end of its last block; it shares everything else.

    `patch` is given the stream `[row, position, d_model]` twice, as what the SAE reads and as what it replaces: the
    true stream only where the answers are read, and nothing else of what it returns is looked at.
    """

    def __init__(self, model: LanguageModel, patch: Callable[[Tensor, Tensor], Tensor]) -> None:
        self.__dict__.update(model.__dict__)
        self._patch = patch

    def logits(self, resid: Tensor, at: Tensor, rows: Tensor | None = None) -> Tensor:
        """See `LanguageModel.logits`."""
        resid = resid.to(self.device)
        return super().logits(self._patch(resid, resid), at, rows)
