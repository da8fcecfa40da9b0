"""One SAE or transcoder: it encodes and decodes in full, and encodes a few latents alone, exactly.

For elementwise activations a latent's activation needs only its own encoder column:

    standard   A = relu(x W + b)
    jumprelu   A = relu(z) * [z > threshold],  z = x W + b
    gated      A = [x W + b_gate > 0] * relu((x W) exp(r_mag) + b_mag)

with the decoder bias folded into b where the SAE subtracts it from its input. TopK kinds need every latent. When an SAE
is opened its encoder columns are compared with its own `encode`, and are used only if they agree.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from circuit_tui.core.errors import UserError
from circuit_tui.core.saes.sae_transform import NORMALISATIONS, take_transform

# A temporal SAE is missing: it encodes a token by the tokens before it.
TRANSCODERS = ("transcoder", "skip_transcoder", "jumprelu_transcoder", "jumprelu_skip_transcoder")
ARCHITECTURES = ("standard", "jumprelu", "gated", "topk", "abstopk", "matching_pursuit", *TRANSCODERS)


@dataclass(frozen=True, slots=True)
class EncoderColumns:
    """Encoder columns of chosen latents, in any number of groups.

    Attributes:
        weight: `[group, d_model, latent]`.
        bias: `[group, 1, latent]`, added to the pre-activation.
        threshold: `[group, 1, latent]` for JumpReLU, else None.
        scale, magnitude_bias: `[group, 1, latent]` for gated SAEs, else None.
    """

    weight: Tensor
    bias: Tensor
    threshold: Tensor | None = None
    scale: Tensor | None = None
    magnitude_bias: Tensor | None = None

    def encode(self, x: Tensor) -> Tensor:
        """Activations `[group, token, latent]` of residuals `[group, token, d_model]`."""
        if self.scale is not None and self.magnitude_bias is not None:
            product = torch.bmm(x, self.weight)
            return torch.relu(product * self.scale + self.magnitude_bias) * (product + self.bias > 0)
        z = torch.baddbmm(self.bias, x, self.weight)
        if self.threshold is None:
            return torch.relu(z)
        # One comparison for both relu and jump: the threshold is clamped at 0 when the columns are made.
        return torch.where(z > self.threshold, z, 0.0)


class SiteSae:
    """A frozen float32 SAE of sae-lens, as the splice uses it.

    Attributes:
        hook, hook_out: the hook that it reads, and the one whose output it replaces; the same unless it is a
            transcoder.
        transform: what it does before encoding and after decoding, None if nothing.
        w_dec: `[latent, d_out]`; b_dec: `[d_out]`. decode(A) = A w_dec + b_dec, checked when opened.
        prepend_bos: whether it was trained on texts that begin with BOS; true where its configuration says nothing.
        elementwise: whether a latent can be encoded from its own column.
        device: the device of encoder and decoder. Inputs and outputs are on another one after `to_devices`.

    Raises:
        UserError: a kind of SAE that cannot be spliced, one whose normalisation is not supported or not folded in, one
            whose decoder is not affine, or one with a parameter that is not finite.
    """

    def __init__(
        self, sae: Any, release: str, sae_id: str, hook: str, path: str, weights_sha256: str, revision: str = ""
    ) -> None:
        self.sae = sae.eval().requires_grad_(False)
        self.release, self.id, self.hook, self.path, self.weights_sha256 = release, sae_id, hook, path, weights_sha256
        self.revision = revision
        self.name = f"{release}:{sae_id}" if release else path
        cfg = sae.cfg
        self.hook_out = str(cfg.metadata.get("hook_name_out") or hook)
        self.architecture = str(cfg.architecture())
        self.d_in, self.d_sae = int(cfg.d_in), int(cfg.d_sae)
        self.d_out = int(getattr(cfg, "d_out", None) or cfg.d_in) if self.architecture in TRANSCODERS else self.d_in
        self.model_name = str(cfg.metadata.get("model_name") or "")
        kwargs = cfg.metadata.get("model_from_pretrained_kwargs") or {}
        self.processing: dict[str, Any] = {name: value for name, value in kwargs.items() if value}
        self.prepend_bos = cfg.metadata.get("prepend_bos") is not False
        self.neuronpedia_id = str(cfg.metadata.get("neuronpedia_id") or "")
        if self.architecture not in ARCHITECTURES:
            raise UserError(
                f"SAE {self.name}: its architecture {self.architecture!r} is not supported; "
                f"supported are {', '.join(ARCHITECTURES)}"
            )
        if cfg.normalize_activations == "expected_average_only_in":
            # sae-lens folds the factor into the weights where it has it; an SAE that still says so would run unscaled.
            raise UserError(
                f"SAE {self.name}: normalize_activations='expected_average_only_in', and the factor is not folded into "
                'its weights; put it into cfg.json as "norm_scaling_factor"'
            )
        if cfg.normalize_activations not in NORMALISATIONS:
            raise UserError(
                f"SAE {self.name}: normalize_activations={cfg.normalize_activations!r} is not supported, "
                "unless it is folded into the weights"
            )
        for name, weight in self.sae.named_parameters():
            if not bool(torch.isfinite(weight).all()):
                raise UserError(f"SAE {self.name}: its parameter {name} is not finite")
        # The heads' outputs are side by side already.
        self.sae.turn_off_forward_pass_hook_z_reshaping()
        self.transform = take_transform(self.sae)
        self.b_dec: Tensor = self.sae.b_dec.detach()
        self.w_dec = self._affine_decoder()
        self.device = self.w_dec.device
        self._encoder_terms = self._compute_encoder_terms()
        self.elementwise = self._encoder_terms is not None and self._columns_agree()

    @property
    def bytes(self) -> int:
        """Bytes of its weights."""
        return sum(weight.numel() * weight.element_size() for weight in self.sae.parameters())

    def to_devices(self, device: torch.device, stream_device: torch.device) -> None:
        """Moves encoder and decoder to `device`; activations and encoder columns are then on `stream_device`."""
        shared = self.w_dec.data_ptr() == self.sae.W_dec.data_ptr()
        self.b_dec = self.b_dec.to(stream_device)
        if self._encoder_terms is not None:
            self._encoder_terms = {name: term.to(stream_device) for name, term in self._encoder_terms.items()}
        self.sae.to(device)
        self.w_dec = self.sae.W_dec.detach() if shared else self.w_dec.to(device)
        self.device = device

    def encode(self, x: Tensor) -> Tensor:
        """All activations `[..., latent]` of inputs `x` `[..., d_in]`, differentiable in `x`."""
        x = x.float()
        z = x if self.transform is None else self.transform.pre_encode(x)
        activations: Tensor = self.sae.encode(z.to(self.device))
        return activations.to(x.device)

    def decode(self, activations: Tensor) -> Tensor:
        """The decoder's output `[..., d_out]` of activations `[..., latent]`, without the transform."""
        return torch.matmul(activations.to(self.device), self.w_dec).to(activations.device) + self.b_dec

    def directions(self, latents: Tensor) -> Tensor:
        """Decoder rows `[..., d_out]` of `latents` `[...]` int64."""
        return self.w_dec[latents.to(self.device)].to(latents.device)

    def rebuild(self, activations: Tensor, x: Tensor) -> Tensor:
        """The output `[..., d_out]` for activations `[..., latent]` when the input is `x` `[..., d_in]`."""
        decoded = self.decode(activations)
        return decoded if self.transform is None else self.transform.post_decode(decoded, x.float())

    def columns(self, latents: Tensor) -> EncoderColumns:
        """Encoder columns of `latents` `[group, latent]` int64, for transformed inputs. Elementwise kinds only."""
        assert self._encoder_terms is not None
        flat = latents.reshape(-1)
        shape = (latents.shape[0], 1, latents.shape[1])
        terms = {name: term[flat].reshape(shape) for name, term in self._encoder_terms.items()}
        rows = self.sae.W_enc.detach().t()[flat.to(self.device)].to(flat.device)
        weight = rows.reshape(*latents.shape, self.d_in).transpose(1, 2)
        return EncoderColumns(weight, **terms)

    def _affine_decoder(self) -> Tensor:
        """`w_dec`, found by decoding a few random activations; raises UserError if the decoder is not affine."""
        w_dec: Tensor = self.sae.W_dec.detach()
        probe = torch.zeros(4, self.d_sae, device=w_dec.device)
        generator = torch.Generator().manual_seed(0)
        for row in probe:
            row[torch.randint(self.d_sae, (16,), generator=generator).to(row.device)] = 1.0
        with torch.no_grad():
            expected = self.sae.decode(probe)
            if torch.allclose(probe @ w_dec + self.b_dec, expected, rtol=1e-3, atol=1e-4):
                return w_dec
            # Some kinds rescale by the decoder norm: activations are in units of unit-norm directions.
            unit: Tensor = w_dec / w_dec.norm(dim=-1, keepdim=True).clamp(min=1e-8)
            if torch.allclose(probe @ unit + self.b_dec, expected, rtol=1e-3, atol=1e-4):
                return unit
        raise UserError(f"SAE {self.name}: its decoder ({self.architecture}) is not affine and cannot be spliced")

    def _compute_encoder_terms(self) -> dict[str, Tensor] | None:
        """The fields of `EncoderColumns` besides `weight`, each `[latent]`; None for kinds that are not elementwise."""
        sae = self.sae
        shift = self.b_dec @ sae.W_enc if sae.cfg.apply_b_dec_to_input else torch.zeros_like(sae.W_enc[0])
        if self.architecture in ("standard", "transcoder", "skip_transcoder"):
            return {"bias": (sae.b_enc - shift).detach()}
        if self.architecture in ("jumprelu", "jumprelu_transcoder", "jumprelu_skip_transcoder"):
            return {"bias": (sae.b_enc - shift).detach(), "threshold": sae.threshold.detach().clamp(min=0)}
        if self.architecture == "gated":
            scale = sae.r_mag.exp()
            return {
                "bias": (sae.b_gate - shift).detach(),
                "scale": scale.detach(),
                "magnitude_bias": (sae.b_mag - shift * scale).detach(),
            }
        return None

    @torch.no_grad()
    def _columns_agree(self) -> bool:
        """Whether the encoder columns of random latents give the activations of the SAE's own encoder."""
        generator = torch.Generator().manual_seed(0)
        spread = self.w_dec.norm(dim=-1).mean() * 4
        x = torch.randn(8, self.d_in, generator=generator).to(self.b_dec.device) * spread
        x = x + self.b_dec if self.d_in == self.d_out else x
        latents = torch.randint(self.d_sae, (1, min(64, self.d_sae)), generator=generator).to(self.b_dec.device)
        own, expected = self.columns(latents).encode(x.unsqueeze(0))[0], self.sae.encode(x)[:, latents[0]]
        # A value at the very threshold may fall on either side of it in another order of summation.
        agree = torch.isclose(own, expected, rtol=1e-3, atol=1e-3)
        return bool(agree.float().mean() > 0.99)
