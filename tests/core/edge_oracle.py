"""Edges computed a second time from their definitions: a Hugging Face model with hooks, one prompt and edge at a time.

An end is ``("token", position)``, ``("latent", site, position, latent)``, ``("error", site, position)`` or
``("logits",)``. It shares no code with `core/edges`; references, errors and position names are those of `Naive`.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import torch
from naive import NO_PREFIX, Handles, Naive, Node, rebuilt, tap
from torch import Tensor
from torch.nn import functional

from circuit_tui.core.tasks.task import Pair

AnyEnd = tuple[Any, ...]
Written = Callable[[int, Tensor, Tensor], Tensor]
"""From a site, its SAE's input and the output there, `[token, d]`, to what will be there."""


class EdgeOracle:
    """The edges of the circuit `nodes` on test prompts with answers of one token."""

    def __init__(self, naive: Naive, nodes: set[Node]) -> None:
        self.naive, self.nodes, self.hf = naive, nodes, naive.hf
        self.n_sites = len(naive.saes)
        self._base: dict[int, tuple[Tensor, dict[int, Tensor], dict[int, Tensor], dict[int, Tensor]]] = {}
        self._mean_embeddings = self._embedding_means()
        # Computed before there are hooks: the errors are those of passes of their own.
        self._errors = [
            [naive.error(site, pair, pair.clean) for site in range(self.n_sites)] for pair in naive.task.split("test")
        ]

    # -- the circuit -------------------------------------------------------------------------------------------------

    def pair(self, prompt: int) -> Pair:
        return self.naive.task.split("test")[prompt]

    def base(self, prompt: int) -> tuple[Tensor, dict[int, Tensor], dict[int, Tensor], dict[int, Tensor]]:
        """Of the circuit: embeddings, and for each site its input, what it writes and its activations."""
        if prompt not in self._base:
            activations: dict[int, Tensor] = {}
            written: dict[int, Tensor] = {}

            def write(site: int, x: Tensor, output: Tensor) -> Tensor:
                acts = self.naive.saes[site].encode(x)
                activations[site] = self.blended(prompt, site, acts, lambda *_: True)
                written[site] = self.decoded(prompt, site, x, x, output, activations[site], lambda _: 1.0)
                return written[site]

            with torch.no_grad():
                _, inputs, embedding = self.run(prompt, write)
            self._base[prompt] = embedding, inputs, written, activations
        return self._base[prompt]

    def blended(self, prompt: int, site: int, acts: Tensor, sees: Callable[[str, int], bool]) -> Tensor:
        """Activations `[token, latent]` with all that are no seen nodes of the circuit at their reference."""
        names, rows = self.naive.names(self.pair(prompt), self.pair(prompt).clean), []
        for token, (name, own) in enumerate(zip(names, acts, strict=True)):
            if name is None:
                rows.append(own)
                continue
            row = self.naive.reference(site, "test", prompt, NO_PREFIX, token).clone()
            for node_site, position, latent in self.nodes:
                if (node_site, position) == (site, name) and sees(name, latent):
                    row[latent] = own[latent]
            rows.append(row)
        return torch.stack(rows)

    def decoded(
        self, prompt: int, site: int, x: Tensor, held: Tensor, output: Tensor, acts: Tensor,
        error: Callable[[str], float],
    ) -> Tensor:  # fmt: skip
        """What a site writes for activations `acts`, the scale of its output that of the input `held`."""
        pair, sae = self.pair(prompt), self.naive.saes[site]
        names, errors = self.naive.names(pair, pair.clean), self._errors[prompt][site]
        sae.encode(held)  # sae-lens decodes with the statistics of what it encoded last
        made = rebuilt(sae, x, acts)
        keeps = self.naive.errors == "keep"
        rows = [
            there if name is None else made[token] + errors[token] * (error(name) if keeps else 1.0)
            for token, (name, there) in enumerate(zip(names, output, strict=True))
        ]
        return torch.stack(rows)

    def run(
        self, prompt: int, write: Written, embed: Callable[[Tensor], Tensor] = lambda x: x
    ) -> tuple[Tensor, dict[int, Tensor], Tensor]:
        """Logits after the prompt, the input of each site's SAE, and the embeddings before `embed` changed them."""
        seen: dict[int, Tensor] = {}
        embedding: list[Tensor] = []

        def first(x: Tensor) -> Tensor:
            embedding.append(x[0])
            return embed(x[0]).unsqueeze(0)

        def read(site: int) -> Callable[[Tensor], None]:
            def at(x: Tensor) -> None:
                seen[site] = x[0]

            return at

        def writer(site: int) -> Callable[[Tensor], Tensor]:
            return lambda x: write(site, seen[site], x[0]).unsqueeze(0)

        handles = Handles([tap(self.hf, "blocks.0.hook_resid_pre", first)])
        for site, sae in enumerate(self.naive.saes):
            name = sae.cfg.metadata.hook_name
            handles += [tap(self.hf, name, read(site))]
            handles += [tap(self.hf, sae.cfg.metadata.get("hook_name_out") or name, writer(site))]
        try:
            tokens = self.naive.tokens(self.pair(prompt).clean)
            return self.hf(tokens, use_cache=False).logits[0, -1], seen, embedding[0]
        finally:
            handles.remove()

    def logit_difference(self, prompt: int, logits: Tensor) -> Tensor:
        right, wrong = (
            self.naive.tokenizer.convert_tokens_to_ids(text.strip())
            for text in (self.pair(prompt).answer, self.pair(prompt).wrong)
        )
        return logits[right] - logits[wrong]

    def tokens_of(self, prompt: int, position: str) -> list[int]:
        names = self.naive.names(self.pair(prompt), self.pair(prompt).clean)
        return [token for token, name in enumerate(names) if name == position]

    # -- targets -----------------------------------------------------------------------------------------------------

    def pre_activation(self, site: int, x: Tensor) -> Tensor:
        """`[token, latent]`."""
        sae = self.naive.saes[site]
        z = sae.process_sae_in(x) @ sae.W_enc
        if sae.cfg.architecture() == "gated":
            return z * sae.r_mag.exp() + sae.b_mag
        z = z + sae.b_enc
        return z * sae.W_dec.norm(dim=-1) if getattr(sae.cfg, "rescale_acts_by_decoder_norm", False) else z

    def value(self, prompt: int, target: AnyEnd, logits: Tensor, inputs: dict[int, Tensor]) -> Tensor:
        """z of a target, averaged over its tokens; of the logits the logit difference."""
        if target[0] == "logits":
            return self.logit_difference(prompt, logits)
        _, site, position, latent = target
        return self.pre_activation(site, inputs[site])[self.tokens_of(prompt, position), latent].mean()

    def held_activation(self, prompt: int, target: AnyEnd, x: Tensor) -> Tensor:
        """Activations of a target at its tokens; a TopK SAE holds the threshold of the circuit."""
        _, site, position, latent = target
        sae, tokens = self.naive.saes[site], self.tokens_of(prompt, position)
        if "topk" not in sae.cfg.architecture():
            activations: Tensor = sae.encode(x)[tokens, latent]
            return activations
        size: Callable[[Tensor], Tensor] = torch.abs if "abs" in sae.cfg.architecture() else torch.relu
        selected = size(self.pre_activation(site, self.base(prompt)[1][site])).sort(-1, descending=True).values
        threshold = selected[:, sae.cfg.k - 1 : sae.cfg.k + 1].mean(-1)[tokens]
        z = self.pre_activation(site, x)[tokens, latent]
        return torch.where(size(z) > threshold, z, 0.0)

    # -- exact effects -----------------------------------------------------------------------------------------------

    def without(
        self,
        prompt: int,
        source: AnyEnd,
        *,
        respond: bool,
        forced: dict[int, dict[tuple[str, int], Tensor]] | None = None,
    ) -> tuple[Tensor, dict[int, Tensor]]:
        """The circuit with `source` at its reference: logits and inputs. `forced[site]` are activations of nodes."""
        _, _, base_written, base_acts = self.base(prompt)
        at = source_site(source)

        def write(site: int, x: Tensor, output: Tensor) -> Tensor:
            sae = self.naive.saes[site]
            if site < at:
                return base_written[site]
            if site > at and not respond:
                if getattr(sae, "W_skip", None) is None:
                    return self.where_spliced(prompt, base_written[site], output)
                return self.decoded(prompt, site, x, x, output, base_acts[site], lambda _: 1.0)
            acts = sae.encode(x)
            hidden = (source[2], source[3]) if source[0] == "latent" and site == at else None
            blended = self.blended(prompt, site, acts, lambda name, latent: (name, latent) != hidden)
            for (position, latent), value in (forced or {}).get(site, {}).items():
                blended[self.tokens_of(prompt, position), latent] = value
            off = source[2] if source[0] == "error" and site == at else None
            return self.decoded(prompt, site, x, x, output, blended, lambda name: 0.0 if name == off else 1.0)

        def embed(x: Tensor) -> Tensor:
            return self.mean_at(prompt, x, {source[1]}) if source[0] == "token" else x

        with torch.no_grad():
            logits, inputs, _ = self.run(prompt, write, embed)
        return logits, inputs

    def where_spliced(self, prompt: int, spliced: Tensor, otherwise: Tensor) -> Tensor:
        names = self.naive.names(self.pair(prompt), self.pair(prompt).clean)
        return torch.stack(
            [there if name is None else here for name, here, there in zip(names, spliced, otherwise, strict=True)]
        )

    def effect(self, prompt: int, source: AnyEnd, target: AnyEnd, *, respond: bool) -> float:
        """What `source` gives to the value of `target`: directly, or with everything behind it responding."""
        whole = self.value(prompt, target, *self.circuit(prompt))
        return float((whole - self.value(prompt, target, *self.without(prompt, source, respond=respond))).detach())

    def circuit(self, prompt: int) -> tuple[Tensor, dict[int, Tensor]]:
        """Logits and inputs of the circuit."""
        return self.without(prompt, ("latent", -1, None, None), respond=True)

    def metric(self, prompt: int, source: AnyEnd, target: AnyEnd) -> float:
        """What the logit difference loses if `target` alone sees `source` at its reference."""
        whole, _ = self.circuit(prompt)
        if target[0] == "logits":
            patched, _ = self.without(prompt, source, respond=False)
        else:
            _, site, position, latent = target
            _, inputs = self.without(prompt, source, respond=False)
            with torch.no_grad():
                acts = self.held_activation(prompt, target, inputs[site])
            forced = {site: {(position, latent): acts}}
            patched, _ = self.without(prompt, ("latent", -1, None, None), respond=True, forced=forced)
        return float(self.logit_difference(prompt, whole) - self.logit_difference(prompt, patched))

    # -- edge circuits -----------------------------------------------------------------------------------------------

    def edge_circuit(self, prompt: int, edges: set[tuple[AnyEnd, AnyEnd]], targets: list[AnyEnd]) -> float:
        """The logit difference if each of `targets` (latents in the order of their sites) sees only its parents."""
        values: dict[AnyEnd, Tensor] = {}
        for target in targets:
            _, inputs = self.view(prompt, {a for a, b in edges if b == target}, values)
            with torch.no_grad():
                values[target] = self.held_activation(prompt, target, inputs[target[1]])
        logits, _ = self.view(prompt, {a for a, b in edges if b == ("logits",)}, values)
        return float(self.logit_difference(prompt, logits))

    def view(self, prompt: int, parents: set[AnyEnd], values: dict[AnyEnd, Tensor]) -> tuple[Tensor, dict[int, Tensor]]:
        """Logits and inputs with `parents` at their `values` and every other source at its reference."""
        _, base_inputs, _, _ = self.base(prompt)

        def write(site: int, x: Tensor, output: Tensor) -> Tensor:
            acts = self.blended(prompt, site, self.naive.saes[site].encode(x), lambda *_: False)
            for parent in parents:
                if parent[0] == "latent" and parent[1] == site:
                    acts[self.tokens_of(prompt, parent[2]), parent[3]] = values[parent]
            seen = {parent[2] for parent in parents if parent[0] == "error" and parent[1] == site}
            skips = getattr(self.naive.saes[site], "W_skip", None) is not None
            held = x if skips else base_inputs[site]
            return self.decoded(prompt, site, x, held, output, acts, lambda name: 1.0 if name in seen else 0.0)

        def embed(x: Tensor) -> Tensor:
            names = self.naive.names(self.pair(prompt), self.pair(prompt).clean)
            shown = {parent[1] for parent in parents if parent[0] == "token"}
            return self.mean_at(prompt, x, {name for name in names if name is not None} - shown)

        with torch.no_grad():
            logits, inputs, _ = self.run(prompt, write, embed)
        return logits, inputs

    def _embedding_means(self) -> dict[Any, Tensor]:
        found: dict[Any, list[Tensor]] = {}
        for pair in self.naive.task.split("train"):
            kept: list[Tensor] = []
            handle = tap(self.hf, "blocks.0.hook_resid_pre", lambda x, kept=kept: kept.append(x[0]))
            with torch.no_grad():
                self.hf(self.naive.tokens(pair.corrupt), use_cache=False)
            handle.remove()
            for group, row in zip(self.naive.mean_groups(pair, pair.corrupt), kept[0], strict=True):
                found.setdefault(group, []).append(row)
        return {group: torch.stack(rows).mean(0) for group, rows in found.items()}

    def mean_at(self, prompt: int, x: Tensor, positions: set[str]) -> Tensor:
        """Embeddings `x` `[token, d]` with those at `positions` at their mean."""
        pair = self.pair(prompt)
        names, groups = self.naive.names(pair, pair.clean), self.naive.mean_groups(pair, pair.clean)
        rows = [
            self._mean_embeddings.get(group, torch.zeros_like(row)) if name in positions else row
            for name, group, row in zip(names, groups, x, strict=True)
        ]
        return torch.stack(rows)

    # -- the frozen part ---------------------------------------------------------------------------------------------

    def frozen(
        self, prompt: int, source: AnyEnd, target: AnyEnd, *, last_block: int = 99, cut: tuple[int, int] | None = None
    ) -> float:
        """The derivative of the target's value by a factor on what `source` writes, under circuit-tracer's freezes.

        Heads of blocks behind `last_block` are cut, and the head `cut` (block, head).
        """
        embedding, base_inputs, base_written, _ = self.base(prompt)
        at, factor = source_site(source), torch.zeros((), requires_grad=True)

        def write(site: int, x: Tensor, output: Tensor) -> Tensor:
            if site < at:
                return base_written[site]
            if site == at:
                return self.where_spliced(prompt, base_written[site], output) + factor * self.written(prompt, source)
            return self.where_spliced(prompt, base_written[site], output)

        def embed(x: Tensor) -> Tensor:
            if source[0] != "token":
                return x
            return x + factor * (embedding - self.mean_at(prompt, embedding, {source[1]}))

        with frozen_model(self.hf), self._cut_heads(last_block, cut):
            logits, inputs, _ = self.run(prompt, write, embed)
            if target[0] == "latent":
                # A normalising SAE's scale is held: the slope of its input's direction alone.
                value = self._frozen_value(prompt, target, inputs, base_inputs)
            else:
                cap = getattr(self.hf.config, "final_logit_softcapping", None)
                value = self.logit_difference(prompt, logits if cap is None else cap * torch.atanh(logits / cap))
            (slope,) = torch.autograd.grad(value, factor, allow_unused=True) if value.requires_grad else (None,)
        return 0.0 if slope is None else float(slope)

    def _frozen_value(self, prompt: int, target: AnyEnd, inputs: dict[int, Tensor], base: dict[int, Tensor]) -> Tensor:
        _, site, position, latent = target
        x, held = inputs[site], base[site].detach()
        kind = self.naive.saes[site].cfg.normalize_activations
        if kind == "layer_norm":
            scaled = (x - x.mean(-1, keepdim=True)) / (held.std(-1, keepdim=True) + 1e-5)
        elif kind == "constant_norm_rescale":
            scaled = x * x.shape[-1] ** 0.5 / held.norm(dim=-1, keepdim=True)
        else:
            return self.value(prompt, target, x, inputs)
        z = scaled @ self.naive.saes[site].W_enc
        return z[self.tokens_of(prompt, position), latent].mean()

    def written(self, prompt: int, source: AnyEnd) -> Tensor:
        """What `source` adds to what its site writes, `[token, d]`."""
        _, base_inputs, base_written, base_acts = self.base(prompt)
        site = source_site(source)
        with torch.no_grad():
            output, x = base_written[site], base_inputs[site]
            off = source[2] if source[0] == "error" else None
            acts = base_acts[site]
            if source[0] == "latent":
                hidden = (source[2], source[3])
                own = self.naive.saes[site].encode(x)
                acts = self.blended(prompt, site, own, lambda name, latent: (name, latent) != hidden)
            return output - self.decoded(
                prompt, site, x, x, output, acts, lambda name: 0.0 if name == off else 1.0
            )  # fmt: skip

    @contextlib.contextmanager
    def _cut_heads(self, last_block: int, cut: tuple[int, int] | None) -> Iterator[None]:
        """Detaches the outputs of heads."""
        n_heads = self.hf.config.num_attention_heads

        def at(block: int) -> Callable[[Tensor], Tensor]:
            def detached(z: Tensor) -> Tensor:
                if block > last_block:
                    return z.detach()
                if cut is None or cut[0] != block:
                    return z
                parts = list(z.reshape(*z.shape[:2], n_heads, -1).unbind(2))
                parts[cut[1]] = parts[cut[1]].detach()
                return torch.stack(parts, 2).reshape(z.shape)

            return detached

        handles = Handles(
            tap(self.hf, f"blocks.{block}.attn.hook_z", at(block)) for block in range(self.hf.config.num_hidden_layers)
        )
        try:
            yield
        finally:
            handles.remove()


def source_site(source: AnyEnd) -> int:
    """The site of a source, -1 of a token."""
    return -1 if source[0] == "token" else int(source[1])


@contextlib.contextmanager
def frozen_model(hf: Any) -> Iterator[None]:
    """Within it gradients see attention patterns, norm scales and MLP outputs of `hf` as constants."""
    softmax, undo = functional.softmax, []
    functional.softmax = lambda *args, **named: softmax(*args, **named).detach()  # type: ignore[assignment]
    handles = []
    for name, module in hf.named_modules():
        kind = type(module).__name__
        if kind == "LayerNorm":
            undo.append((module, module.forward))
            module.forward = lambda x, norm=module: _layer_norm(norm, x)
        elif kind.endswith("RMSNorm"):
            undo.append((module, module.forward))
            module.forward = lambda x, norm=module: _rms_norm(norm, x)
        elif name.endswith(".mlp"):
            handles.append(module.register_forward_hook(lambda _, __, out: out.detach()))
    try:
        yield
    finally:
        functional.softmax = softmax  # type: ignore[assignment]
        for module, forward in undo:
            module.forward = forward
        for handle in handles:
            handle.remove()


def _layer_norm(norm: Any, x: Tensor) -> Tensor:
    scale = (x.var(-1, correction=0, keepdim=True) + norm.eps).sqrt().detach()
    normed: Tensor = (x - x.mean(-1, keepdim=True)) / scale * norm.weight + norm.bias
    return normed


def _rms_norm(norm: Any, x: Tensor) -> Tensor:
    eps = getattr(norm, "variance_epsilon", getattr(norm, "eps", None))
    scale = (x.pow(2).mean(-1, keepdim=True) + eps).sqrt().detach()
    gain = norm.weight + 1 if type(norm).__name__.startswith("Gemma") else norm.weight
    normed: Tensor = x / scale * gain
    return normed
