"""The circuit's latents at one site: their pre-activations, activations and decoder rows.

standard, jumprelu, transcoders   z = x W + b
gated                             z of the magnitude path, (x W) exp(r_mag) + b_mag
topk, abstopk                     z before the selection; the threshold of the circuit's own pass is held

Only where everything behind a change responds does a TopK SAE select anew.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import Tensor

from circuit_tui.core.errors import UserError
from circuit_tui.core.saes.sae import EncoderColumns, SiteSae
from circuit_tui.core.saes.sae_transform import ConstantNorm, LayerNorm

SELECTIVE = ("topk", "abstopk")
"""Kinds of SAEs that keep a fixed number of latents at each token."""


class Reading(NamedTuple):
    """Pre-activations and activations of the nodes, both `[..., row, position, node]`."""

    z: Tensor
    activation: Tensor


@dataclass(frozen=True, slots=True)
class SiteNodes:
    """Some latents of one SAE.

    Attributes:
        sae: the SAE.
        latents: `[node]`.
        decoder: `[node, d_out]`.
        weight: `[d_in, node]` encoder columns, of transformed inputs.
        bias: `[node]`, as `EncoderColumns.bias`.
        columns: the columns of an elementwise SAE, one group; None for a selective one.
        held: `[row, position, 1]` the held threshold of a selective SAE, None until `hold`.
    """

    sae: SiteSae
    latents: Tensor
    decoder: Tensor
    weight: Tensor
    bias: Tensor
    columns: EncoderColumns | None
    held: Tensor | None = None

    @classmethod
    def of(cls, sae: SiteSae, latents: Tensor) -> SiteNodes:
        """Returns the nodes of `latents` `[node]`.

        Raises:
            UserError: the SAE has no pre-activations that its encoder columns give.
        """
        decoder = sae.directions(latents)
        if sae.elementwise:
            columns = sae.columns(latents.unsqueeze(0))
            return cls(sae, latents, decoder, columns.weight[0], columns.bias[0, 0], columns)
        if sae.architecture not in SELECTIVE:
            raise UserError(
                f"SAE {sae.name}: its latents ({sae.architecture}) have no pre-activation of their own, so there are "
                "no edges into them"
            )
        weight, bias = _selective_columns(sae)
        weight, bias = weight[:, latents.to(weight.device)], bias[latents.to(bias.device)]
        return cls(sae, latents, decoder, weight.to(latents.device), bias.to(latents.device), None)

    def hold(self, x: Tensor) -> SiteNodes:
        """Returns the nodes with the threshold held that the SAE has for its input `x` `[row, position, d_in]`."""
        if self.columns is not None:
            return self
        weight, bias = _selective_columns(self.sae)
        z = self.pre_encode(x).to(weight.device) @ weight + bias
        size = z.abs() if self.sae.architecture == "abstopk" else z
        k = int(self.sae.sae.cfg.k)
        top = size.topk(min(k + 1, size.shape[-1]), dim=-1).values
        # Halfway between the last that is kept and the first that is not: rounding moves neither across.
        threshold = (top[..., k - 1 : k] + top[..., k : k + 1]) / 2 if top.shape[-1] > k else top[..., -1:] - 1
        return replace(self, held=threshold.to(x.device))

    def pre_encode(self, x: Tensor) -> Tensor:
        """The input to the encoder for the SAE's input `x` `[..., d_in]`."""
        return x.float() if self.sae.transform is None else self.sae.transform.pre_encode(x.float())

    def read(self, x: Tensor) -> Reading:
        """The reading of the SAE's input `x` `[..., row, position, d_in]`."""
        product = self.pre_encode(x) @ self.weight
        if self.columns is None:
            z = product + self.bias
            assert self.held is not None
            if self.sae.architecture == "abstopk":
                return Reading(z, torch.where(z.abs() > self.held, z, 0.0))
            return Reading(z, torch.where(z > self.held, z, 0.0).relu())
        columns = self.columns
        if columns.scale is not None and columns.magnitude_bias is not None:
            z = product * columns.scale[0, 0] + columns.magnitude_bias[0, 0]
            return Reading(z, torch.where(product + self.bias > 0, z.relu(), 0.0))
        z = product + self.bias
        threshold = 0.0 if columns.threshold is None else columns.threshold[0, 0]
        return Reading(z, torch.where(z > threshold, z, 0.0))

    def respond(self, x: Tensor) -> Tensor:
        """Activations `[..., row, position, node]` for the SAE's input `x`; a selective SAE selects anew."""
        return self.read(x).activation if self.columns is not None else self.sae.encode(x)[..., self.latents]

    def slope(self) -> Tensor:
        """`[d_in, node]`: what z gains for each unit of the transformed input."""
        scale = None if self.columns is None else self.columns.scale
        return self.weight if scale is None else self.weight * scale[0, 0]

    def slope_of_input(self) -> Tensor:
        """`[d_in, node]`: what z gains for each unit of the SAE's own input, but for the token's scale."""
        slope = self.slope()
        return slope - slope.mean(0, keepdim=True) if isinstance(self.sae.transform, LayerNorm) else slope

    def token_scale(self, x: Tensor) -> Tensor | None:
        """`[..., 1]`, by which the SAE's normalisation divides its input `x` `[..., d_in]`; None without one."""
        transform, x = self.sae.transform, x.float()
        if isinstance(transform, LayerNorm):
            return x.std(-1, keepdim=True) + 1e-5
        if isinstance(transform, ConstantNorm):
            norm: Tensor = torch.linalg.vector_norm(x, dim=-1, keepdim=True)
            return norm / math.sqrt(x.shape[-1])
        return None


def _selective_columns(sae: SiteSae) -> tuple[Tensor, Tensor]:
    """Encoder `[d_in, latent]` and bias `[latent]` of a TopK SAE, in the units of its activations."""
    weight, bias = sae.sae.W_enc.detach(), sae.sae.b_enc.detach()
    if sae.sae.cfg.apply_b_dec_to_input:
        bias = bias - sae.b_dec.to(weight.device) @ weight
    if sae.sae.cfg.rescale_acts_by_decoder_norm:
        norm = sae.sae.W_dec.detach().norm(dim=-1)
        weight, bias = weight * norm, bias * norm
    return weight, bias
