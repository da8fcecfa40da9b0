"""M's own pass over one prompt, recorded for attribution."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from circuit_tui.core.edges.freezes import Freezes, record_plain_pass
from circuit_tui.core.errors import UserError
from circuit_tui.core.models.language_model import LanguageModel
from circuit_tui.core.saes.site import Site
from circuit_tui.core.tasks.token_text import token_texts


@dataclass(frozen=True, slots=True)
class Stream:
    """The residual stream where an SAE on it stands, taken apart: x = sum of latents + bias + error.

    Attributes:
        x: `[position, d_model]`.
        activations: `[position, latent]`, of M's own activations.
        bias: `[position, d_model]` what the SAE gives with every latent at 0.
        error: `[position, d_model]` what the SAE leaves over.
    """

    x: Tensor
    activations: Tensor
    bias: Tensor
    error: Tensor


class PlainRun:
    """M on one prompt.

    Args:
        model: M, in float32.
        sites: the sites of the SAEs; those on the residual stream take part.
        tokens: `[position]` int64, with BOS.
        n_bos: how many of them, at the front, no SAE takes apart.

    Attributes:
        freezes: what attribution holds: patterns and norm scales.
        streams: `[position, d_model]` entering each block, and leaving the last.
        logits: `[position, vocab]` behind every token.

    Raises:
        UserError: the model is not in float32, no SAE is on the residual stream, or heads cannot be taken apart.
    """

    def __init__(self, model: LanguageModel, sites: tuple[Site, ...], tokens: Tensor, n_bos: int) -> None:
        if model.dtype != torch.float32:
            dtype = str(model.dtype).removeprefix("torch.")
            raise UserError(f"--dtype {dtype}: attribution needs float32; open with --dtype float32")
        self.model, self.sites, self.tokens, self.n_bos = model, sites, tokens, n_bos
        self.on_stream = tuple(index for index, site in enumerate(sites) if site.inside is None)
        if not self.on_stream:
            raise UserError("attribution takes the residual stream apart, and no SAE is on it here")
        self.freezes: Freezes
        self.freezes, streams, self.logits = record_plain_pass(model, model.embed(tokens.unsqueeze(0)))
        self.streams = [stream[0] for stream in streams]
        self._taken_apart: dict[int, Stream] = {}

    @cached_property
    def texts(self) -> tuple[str, ...]:
        """The text of each token."""
        return token_texts(self.model.tokenizer, self.tokens.tolist())

    def stream_at(self, site: int) -> Stream:
        """The stream at site number `site`, which is one of `on_stream`."""
        if site not in self._taken_apart:
            sae, x = self.sites[site].sae, self.streams[self.sites[site].depth]
            with torch.no_grad():
                activations = sae.encode(x)
                rebuilt = sae.rebuild(activations, x)
                bias = sae.rebuild(torch.zeros_like(activations), x)
            self._taken_apart[site] = Stream(x, activations, bias, x - rebuilt)
        return self._taken_apart[site]

    def written_by(self, site: int, latents: Tensor, tokens: Tensor | int) -> Tensor:
        """What each of `latents` `[latent]` adds to the stream at its own of `tokens`, `[latent, d_model]`."""
        sae, stream = self.sites[site].sae, self.stream_at(site)
        written = stream.activations[tokens, latents].unsqueeze(1) * sae.directions(latents)
        return written if sae.transform is None else sae.transform.scale(written, stream.x[tokens].float())

    def site_before(self, site: int | None) -> int | None:
        """The last site on the stream before `site`, or before the logits if that is None; None if there is none."""
        end = self.model.n_layers + 1 if site is None else self.sites[site].depth
        return max((each for each in self.on_stream if self.sites[each].depth < end), default=None)
