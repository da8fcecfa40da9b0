"""Why a head looks where it does: its attention score, taken apart into pairs of what is at the query and at the key.

With norm scales held (those of query and key norms too), the score before a soft cap is bilinear in the two streams:

    score(p, q) = s (R_p (A x_p + a)) . (R_q (B x_q + b))

R the rotary turn of a position, A and B the head's maps behind the norm, a and b their biases, s the scale. x_p and x_q
are sums of latents, SAE bias, SAE error and what blocks wrote since that SAE. Every pair is a part, and all parts add
up to the model's own score. Before that the score of every pair of tokens is compared with the model's.
Source: Ameisen et al. (2025) and transformer-circuits' update on attention QK attribution.
"""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor

from circuit_tui.core.attribution.plain_run import PlainRun
from circuit_tui.core.attribution.score_parts import HeadScore, ScorePart, ScoreSide
from circuit_tui.core.edges.freezes import HookRecorder
from circuit_tui.core.errors import UserError

TOLERANCE = 1e-3
"""By how much scores put together may differ from the model's, as a share of the largest."""


def parse_head(text: str) -> tuple[int, int]:
    """Returns the (block, head) that a text such as ``2.1`` names. Raises UserError if it names none."""
    block, _, head = text.partition(".")
    if not (block.isdecimal() and head.isdecimal()):
        raise UserError(f"--head {text}: write BLOCK.HEAD, such as 2.1")
    return int(block), int(head)


@torch.no_grad()
def head_score(run: PlainRun, block: int, head: int, query: int, key: int, n_parts: int | None = None) -> HeadScore:
    """Returns the score of head `head` of a block from token `query` to token `key`, with its `n_parts` largest parts.

    Raises:
        UserError: there is no such head or token, the query does not see the key, or the head's score is not of the
            form above.
    """
    n_tokens, n_blocks = len(run.tokens), run.model.n_layers
    n_heads = run.freezes.patterns[0].shape[1]
    if not (0 <= block < n_blocks and 0 <= head < n_heads):
        raise UserError(f"head {block}.{head}: the model has blocks 0 to {n_blocks - 1} with heads 0 to {n_heads - 1}")
    if not 0 <= key <= query < n_tokens:
        raise UserError(
            f"tokens {query} and {key}: the key is a token from 0 to the query, the query one up to {n_tokens - 1}"
        )
    score = _Score(run, block, head)
    if not bool(score.seen[query, key]):
        raise UserError(f"head {block}.{head} does not see token {key} from token {query}")
    queries, keys = _sides(run, block, query), _sides(run, block, key)
    q = torch.cat(
        [score.side("Q", torch.stack([x for _, x in queries]), query), score.constant("Q", query).unsqueeze(0)]
    )
    k = torch.cat([score.side("K", torch.stack([x for _, x in keys]), key), score.constant("K", key).unsqueeze(0)])
    given = score.scale * (q.double() @ k.double().t())
    names = [side for side, _ in queries] + [ScoreSide("bias")], [side for side, _ in keys] + [ScoreSide("bias")]
    parts = _pairs(given, *names)
    if n_parts is not None and len(parts) > n_parts:
        rest = parts[n_parts:]
        parts[n_parts:] = [ScorePart(None, None, sum(part.value for part in rest), len(rest))]
    weight = float(run.freezes.patterns[block][0, head, query, key])
    return HeadScore(
        block,
        head,
        query,
        key,
        float(score.before_cap[query, key]),
        float(score.capped[query, key]),
        weight,
        tuple(parts),
    )


def _pairs(given: Tensor, queries: list[ScoreSide], keys: list[ScoreSide]) -> list[ScorePart]:
    order = given.abs().flatten().argsort(descending=True, stable=True).tolist()
    width = given.shape[1]
    values = given.flatten().tolist()
    return [ScorePart(queries[at // width], keys[at % width], values[at]) for at in order]


def _sides(run: PlainRun, block: int, token: int) -> list[tuple[ScoreSide, Tensor]]:
    """The summands of the stream that enters a block at one token, each with its vector `[d_model]`."""
    x = run.streams[block][token]
    site = max((each for each in run.on_stream if run.sites[each].depth <= block), default=None)
    if site is None or token < run.n_bos:
        return [(ScoreSide("stream"), x)]
    stream = run.stream_at(site)
    latents = stream.activations[token].nonzero()[:, 0]
    written = run.written_by(site, latents, token)
    found = [(ScoreSide("latent", site, latent), row) for latent, row in zip(latents.tolist(), written, strict=True)]
    found += [(ScoreSide("SAE bias", site), stream.bias[token]), (ScoreSide("error", site), stream.error[token])]
    if run.sites[site].depth < block:
        found.append((ScoreSide("since"), x - stream.x[token]))
    return found


class _Score:
    """The maps of one head, with norm scales held as in M's own pass."""

    def __init__(self, run: PlainRun, block: int, head: int) -> None:
        self._run, self._block, self._head = run, block, head
        self._module = run.model.bridge.blocks[block]
        points = "hook_attn_scores", "hook_cos", "hook_sin", "q_norm.hook_scale", "k_norm.hook_scale"
        with HookRecorder(run.model, [f"blocks.{block}.attn.{point}" for point in points]) as seen:
            run.model.run_blocks(run.streams[block].unsqueeze(0), block, block + 1)
        self._seen = {name.removeprefix(f"blocks.{block}.attn."): value for name, value in seen.items()}
        self.capped = self._seen["hook_attn_scores"][0, head].double()
        cap = getattr(self._module.attn.original_component, "attn_logit_softcapping", None)
        # Tokens that the query does not see have a score of minus a very large number.
        self.seen = self.capped > -1e30 if cap is None else self.capped.abs() <= cap
        self.before_cap = self.capped if cap is None else torch.atanh(self.capped.clamp(-cap, cap) / cap) * cap
        self.scale = 1.0
        self._check()

    def side(self, which: Literal["Q", "K"], x: Tensor, token: int) -> Tensor:
        """What the head makes of parts `x` `[part, d_model]` of the stream at a token, `[part, d_head]`."""
        freezes = self._run.freezes
        normed = freezes.norms[self._block].linear(x) / freezes.scales[self._block][0, token]
        return self._turned(which, normed @ self._weight(which), token)

    def constant(self, which: Literal["Q", "K"], token: int) -> Tensor:
        """What norm and head add whatever the stream, `[d_head]`."""
        stream = self._run.streams[self._block][token]
        bias: Tensor = self._module.ln1.original_component(torch.zeros_like(stream).reshape(1, 1, -1))[0, 0]
        made = bias @ self._weight(which)
        own = getattr(self._module.attn, f"b_{which}", None)
        if own is not None:
            made = made + own.reshape(-1, made.shape[-1])[self._kv_head(len(own)) if which == "K" else self._head]
        return self._turned(which, made.unsqueeze(0), token)[0]

    def _weight(self, which: Literal["Q", "K"]) -> Tensor:
        weight: Tensor = getattr(self._module.attn, f"W_{which}")
        return weight[self._head if which == "Q" else self._kv_head(len(weight))]

    def _kv_head(self, count: int) -> int:
        return self._head * count // self._run.freezes.patterns[self._block].shape[1]

    def _turned(self, which: Literal["Q", "K"], x: Tensor, token: int) -> Tensor:
        """`x` `[part, d_head]` through the query or key norm, with its scale held, and turned by its position."""
        scale = self._seen.get(f"{which.lower()}_norm.hook_scale")
        if scale is not None:
            norm: Any = getattr(self._module.attn, f"{which.lower()}_norm").original_component
            gain: Tensor = norm(torch.full_like(x[:1], 1e3))[0]
            head = self._head if which == "Q" else self._kv_head(scale.shape[1])
            x = x * gain / scale[0, head, token]
        if "hook_cos" not in self._seen:
            return x
        cos, sin = self._seen["hook_cos"][0, token], self._seen["hook_sin"][0, token]
        turning, rest = x[:, : len(cos)], x[:, len(cos) :]
        half = len(cos) // 2
        swapped = torch.cat([-turning[:, half:], turning[:, :half]], -1)
        return torch.cat([turning * cos + swapped * sin, rest], -1)

    def _check(self) -> None:
        """Finds the scale, and compares the scores of all pairs of tokens with the model's."""
        streams = self._run.streams[self._block]
        try:
            q, k = (
                torch.stack(
                    [self.side(which, x.unsqueeze(0), at)[0] + self.constant(which, at) for at, x in enumerate(streams)]
                ).double()
                for which in ("Q", "K")
            )
            made, own = (q @ k.t())[self.seen], self.before_cap[self.seen]
        except (AttributeError, KeyError, RuntimeError, ValueError, TypeError, IndexError) as error:
            raise self._refused(f"{type(error).__name__}: {error}".splitlines()[0]) from error
        self.scale = float((made * own).sum() / made.square().sum().clamp(min=1e-30))
        if not bool((self.scale * made - own).abs().max() <= TOLERANCE * own.abs().max().clamp(min=1e-6)):
            raise self._refused("its scores are not those of its queries and keys")

    def _refused(self, why: str) -> UserError:
        name = self._run.model.name
        return UserError(f"--model {name}: head {self._block}.{self._head} cannot be taken apart ({why})")
