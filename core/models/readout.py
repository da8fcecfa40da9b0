"""From the residual stream to the logits, with the final norm's scale held: what a direction does to each logit.

A final norm is N(x) = g * (x - c mean(x)) / s(x) + b, with c = 1 for LayerNorm and 0 for RMSNorm. How a model stores
the gain g (as it is, as 1 + w, or folded into the unembedding W_U) does not matter here: g and c are read off from what
the norm does. With the scale s held, adding a direction d to the stream changes the logits before a soft cap by

    (g * (d - c mean(d))) @ W_U / s

the `weights` of d divided by s: direct logit attribution, and for s = 1 the "logit weights" of a decoder direction.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from circuit_tui.core.models.language_model import LanguageModel

VOCAB_CHUNK = 2**14
"""Columns of the unembedding that are multiplied at once: in another dtype than float32 they are converted first."""
_PROBE_SIZE = 64.0


class Readout:
    """What stands between the last block of `model` and its logits, as a linear map. Everything is float32.

    Attributes:
        gain: `[d_model]`, the final norm's g.
        centred: whether the norm subtracts the mean.
        soft_cap: the cap c of logits c tanh(z / c), None if there is none. Weights are those of z, before the cap.
    """

    @torch.no_grad()
    def __init__(self, model: LanguageModel) -> None:
        self._model = model
        self.soft_cap = model.soft_cap
        # Alternating signs have size 1 and hardly a mean; the norm's epsilon is nothing beside their square.
        signs = torch.ones(model.d_model)
        signs[1::2] = -1
        signs *= _PROBE_SIZE
        up, down, shifted = self._norm(torch.stack([signs, -signs, signs + _PROBE_SIZE]))
        self._bias: Tensor = (up + down) / 2
        self.centred = bool((shifted - up).abs().max() < 0.1 * (up - down).abs().max())
        probe = signs - signs.mean() if self.centred else signs
        self.gain: Tensor = (up - down) / 2 * probe.pow(2).mean().sqrt() / probe

    def weights(self, directions: Tensor, tokens: Tensor | None = None) -> Tensor:
        """Returns the logit weights `[direction, vocab]` of `directions` `[direction, d_model]`; or of `tokens` alone.

        `tokens` `[token]` are vocabulary ids; the result is then `[direction, token]`.
        """
        w_u = self._unembedding
        if tokens is not None:
            chosen: Tensor = w_u[:, tokens.to(w_u.device)].float().to(directions.device)
            return self._normed(directions) @ chosen
        return torch.cat([part for _, part in self._chunks(directions)], dim=1)

    def answer_directions(self, right: Tensor, wrong: Tensor) -> Tensor:
        """Returns `[answer, d_model]`: the inner product of a stream vector and row a is its weight right minus wrong.

        `right` and `wrong` `[answer]` are vocabulary ids.
        """
        w_u = self._unembedding
        difference = (w_u[:, right.to(w_u.device)].float() - w_u[:, wrong.to(w_u.device)].float()).t().to(right.device)
        gained: Tensor = difference * self.gain.to(difference.device)
        return gained - gained.mean(-1, keepdim=True) if self.centred else gained

    def extreme_tokens(self, directions: Tensor, count: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Returns the tokens with the largest and the smallest logit weights of `directions` `[direction, d_model]`.

        The result is largest weights, their ids, smallest weights, their ids, each `[direction, count]`, the most
        extreme first.
        """
        found: list[tuple[Tensor, Tensor]] = [(torch.empty(0), torch.empty(0))] * 2
        for start, part in self._chunks(directions):
            for end, largest in enumerate((True, False)):
                values, ids = part.topk(min(count, part.shape[1]), dim=1, largest=largest)
                ids = ids + start
                if start:
                    values, ids = torch.cat([found[end][0], values], 1), torch.cat([found[end][1], ids], 1)
                    values, order = values.topk(min(count, values.shape[1]), dim=1, largest=largest)
                    ids = ids.gather(1, order)
                found[end] = values, ids
        return *found[0], *found[1]

    @torch.no_grad()
    def scale(self, resid: Tensor) -> Tensor:
        """Returns the final norm's scale s `[...]` of stream vectors `resid` `[..., d_model]`."""
        x = resid.float()
        x = x - x.mean(-1, keepdim=True) if self.centred else x
        shifted = self._norm(resid) - self._bias.to(resid.device)
        scale: Tensor = torch.linalg.vector_norm(x * self.gain.to(x.device), dim=-1)
        size: Tensor = torch.linalg.vector_norm(shifted, dim=-1)
        return scale / size

    def _normed(self, directions: Tensor) -> Tensor:
        x = directions.float()
        return (x - x.mean(-1, keepdim=True) if self.centred else x) * self.gain.to(x.device)

    def _chunks(self, directions: Tensor) -> Iterator[tuple[int, Tensor]]:
        """Yields the first column and the weights `[direction, column]` of each stretch of the vocabulary."""
        w_u, normed = self._unembedding, self._normed(directions)
        size = w_u.shape[1] if w_u.dtype == torch.float32 else VOCAB_CHUNK
        for start in range(0, w_u.shape[1], size):
            yield start, (normed.to(w_u.device) @ w_u[:, start : start + size].float()).to(directions.device)

    def _norm(self, x: Tensor) -> Tensor:
        """Returns the final norm's output of `x` `[..., d_model]`, float32, on the device of `x`."""
        norm = self._model.bridge.ln_final
        given = x.to(self._model.final_norm_device, self._model.dtype)
        result: Tensor = norm(given.reshape(-1, 1, x.shape[-1])).reshape(x.shape)
        return result.float().to(x.device)

    @property
    def _unembedding(self) -> Tensor:
        weight: Tensor = self._model.bridge.unembed.W_U.detach()
        return weight
