"""One pass of a circuit, kept whole, and passes that differ from it: the basis of all exact quantities of edges.

A *change* is added to what one site writes, or to the embeddings; the nodes behind it are held or respond. A *view* is
what one target sees: of all sources before it those in its parent set, every other one at its reference. Many changes
and many views run at once, as rows of one batch: tensors are `[view, row, position, ...]`.

An SAE that normalises its input holds the scale of its output at the circuit's; a skip connection passes on what the
view gives it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from circuit_tui.core.edges.ends import TOKENS, EdgeSpace
from circuit_tui.core.edges.prompts import EdgePrompts
from circuit_tui.core.edges.site_nodes import Reading, SiteNodes
from circuit_tui.core.saes.sae_transform import Skip
from circuit_tui.core.saes.site import site_groups
from circuit_tui.core.splice.hook_patch import HookPatch, run_patched
from circuit_tui.core.splice.problem import Problem


@dataclass(frozen=True, slots=True)
class Sweep:
    """What a sweep has seen: for each site its SAE's input `[view, row, position, d_in]`, and the metric if it ended.

    `logit_difference` is `[view, prompt]`; None if the sweep stopped at a site.
    """

    inputs: dict[int, Tensor]
    logit_difference: Tensor | None


class CircuitPass:
    """The pass of a circuit on some prompts.

    Args:
        problem: what is open; its model in float32, padded on the right.
        space: the edges of the circuit.
        nodes: for each site the circuit's latents there.
        prompts: the prompts.

    Attributes:
        entering: for each site the stream `[row, position, d_model]` that enters its group.
        inputs, outputs: for each site its SAE's input and what it writes, `[row, position, d]`.
        readings: for each site the reading of its nodes.
        spliced: `[row, position, 1]` bool: the tokens that sites splice.
        tokens_of: for each site `[node, row, position]` bool: the tokens of each node.
        deltas: for each site `[node, row, position]`: activation minus reference, 0 away from the node's tokens.
        logit_difference: `[prompt]`.
    """

    def __init__(self, problem: Problem, space: EdgeSpace, nodes: Sequence[SiteNodes], prompts: EdgePrompts) -> None:
        self.problem, self.space, self.prompts = problem, space, prompts
        self.nodes = list(nodes)
        self.n_rows, self.n_columns = prompts.ids.shape
        self.spliced = (prompts.ids >= 0).unsqueeze(-1)
        self._base, self._references, self.tokens_of = list[Tensor](), list[Tensor](), list[Tensor]()
        rows = prompts.reference_rows.clamp(min=0)
        for site, table in enumerate(problem.reference_tables):
            ends = [space.ends[end] for end in space.latents_of(site)]
            latents = torch.tensor([end.latent for end in ends], dtype=torch.long, device=rows.device)
            positions = torch.tensor([end.position for end in ends], dtype=torch.long, device=rows.device)
            self.tokens_of.append(prompts.ids.unsqueeze(0) == positions.reshape(-1, 1, 1))
            self._base.append(table.base[rows])
            self._references.append(table.values[rows.unsqueeze(-1), latents].movedim(-1, 0))
        # For each token which token end, or error end, of a site's it belongs to; 0 where nothing is spliced.
        present = torch.tensor([space.ends[end].position for end in space.of_site(TOKENS)], device=rows.device)
        self._present_index = torch.searchsorted(present, prompts.ids.clamp(min=0)).clamp(max=len(present) - 1)
        n = space.n_sites
        self.entering, self.inputs, self.outputs = ([torch.empty(0)] * n for _ in range(3))
        self.readings, self.deltas = list[Reading](), list[Tensor]()
        self.logit_difference = self._run_circuit()

    # -- the circuit itself ------------------------------------------------------------------------------------------

    @torch.no_grad()
    def _run_circuit(self) -> Tensor:
        def patch(site: int) -> HookPatch:
            def spliced(x: Tensor, output: Tensor) -> Tensor:
                self.nodes[site] = self.nodes[site].hold(x)
                reading = self.nodes[site].read(x)
                self.inputs[site] = x
                self.readings.append(reading)
                self.deltas.append(self.delta_of(site, reading.activation.unsqueeze(0))[0])
                decoded = self._base[site] + self._decode(site, self.deltas[site])
                self.outputs[site] = self._written(site, x, output, decoded, self._error(site))
                return self.outputs[site]

            return spliced

        result = self._sweep(0, self.space.n_sites, self.prompts.batch.prefix, patch, keep_entering=True)
        assert result is not None
        return result[0]

    def gradients(self) -> list[Tensor]:
        """For each site the gradient `[node, row, position]` of the summed logit difference by each node's activation.

        Every node behind responds.
        """
        found: list[Tensor] = []

        def patch(site: int) -> HookPatch:
            def spliced(x: Tensor, output: Tensor) -> Tensor:
                activation = self.nodes[site].read(x).activation
                found.append(activation)
                decoded = self._base[site] + self._decode(site, self.delta_of(site, activation.unsqueeze(0))[0])
                return self._written(site, x, output, decoded, self._error(site))

            return spliced

        with torch.enable_grad():
            resid = self.prompts.batch.prefix.detach().requires_grad_()
            result = self._sweep(0, self.space.n_sites, resid, patch)
            assert result is not None
            grads = torch.autograd.grad(result.sum(), found, allow_unused=True)
        return [
            torch.zeros_like(self.deltas[site]) if grad is None else grad.movedim(-1, 0) * self.tokens_of[site]
            for site, grad in enumerate(grads)
        ]

    # -- changes -----------------------------------------------------------------------------------------------------

    def change_of(self, end: int) -> Tensor:
        """What end number `end` adds to what its site writes, `[row, position, d_out]`: 0 when it is at its reference.

        Of a token it is the embedding minus its mean.
        """
        here = self.space.ends[end]
        if here.kind == "token":
            tokens = (self.prompts.ids == here.position).unsqueeze(-1)
            return torch.where(tokens, self.prompts.embedding - self.prompts.mean_embedding, 0.0)
        if here.kind == "error":
            error = self._error(here.site)
            assert error is not None
            return torch.where((self.prompts.ids == here.position).unsqueeze(-1), error, 0.0)
        index = end - self.space.of_site(here.site).start
        return self.written_change(here.site, index, self.deltas[here.site][index])

    def written_change(self, site: int, index: int, delta: Tensor) -> Tensor:
        """What the node number `index` of a site adds to what it writes, `[..., row, position, d_out]`.

        `delta` `[..., row, position]` is its activation minus its reference.
        """
        change = delta.unsqueeze(-1) * self.nodes[site].decoder[index]
        transform = self.nodes[site].sae.transform
        return change if transform is None else transform.scale(change, self.inputs[site].float())

    @torch.no_grad()
    def run_changed(self, site: int, change: Tensor, last: int, *, respond: bool) -> Sweep:
        """Runs the circuit with `change` `[view, row, position, d_out]` added to what `site` writes.

        The nodes behind respond, or are held at what the circuit gives them. The sweep ends at the SAE's input of site
        number `last`, or at the logits if that is the number of sites. `site` may be `TOKENS`.
        """
        inputs: dict[int, Tensor] = {}

        def patch(index: int) -> HookPatch:
            def spliced(x: Tensor, output: Tensor) -> Tensor:
                if index < site:
                    return self._views(self.outputs[index], len(change))
                if index == site:
                    changed = self.outputs[index] + change
                    return torch.where(self.spliced, changed.to(output.dtype), self._unflat(output)).flatten(0, 1)
                inputs[index] = self._unflat(x)
                if index == last:
                    return output
                return self._responding(index, x, output) if respond else self._held(index, x, output)

            return spliced

        if site == TOKENS:
            resid = (self.prompts.embedding + change).flatten(0, 1)
            resid = self.problem.model.run_blocks(resid, 0, self.problem.sites[0].depth)
        else:
            resid = self._views(self.entering[site], len(change))
        return Sweep(inputs, self._sweep(max(site, 0), last, resid, patch))

    # -- views -------------------------------------------------------------------------------------------------------

    @torch.no_grad()
    def run_views(self, sees: Tensor, last: int, deltas: Sequence[Tensor]) -> Sweep:
        """Runs what targets at site number `last`, or at the logits, see.

        `sees` `[view, end]` bool says which sources each view has; `deltas` are those of the nodes before `last`, as
        in the attribute.
        """
        first = self.space.barrier_before(last)
        inputs: dict[int, Tensor] = {}
        weights = sees.to(self.spliced.device, torch.float32)

        def patch(index: int) -> HookPatch:
            def spliced(x: Tensor, output: Tensor) -> Tensor:
                if index < first:
                    return self._views(self.outputs[index], len(sees))
                if index > first:
                    inputs[index] = self._unflat(x)
                if index == last:
                    return output
                return self._seen(index, weights, deltas[index], x, output)

            return spliced

        if first == TOKENS:
            ends = self.space.of_site(TOKENS)
            token = weights[:, ends.start : ends.stop][:, self._present_index].unsqueeze(-1)
            mixed = self.prompts.mean_embedding + token * (self.prompts.embedding - self.prompts.mean_embedding)
            resid = torch.where(self.spliced, mixed, self.prompts.embedding).flatten(0, 1)
            resid = self.problem.model.run_blocks(resid, 0, self.problem.sites[0].depth)
        else:
            resid = self._views(self.entering[first], len(sees))
        return Sweep(inputs, self._sweep(max(first, 0), last, resid, patch))

    def delta_of(self, site: int, activation: Tensor) -> Tensor:
        """Activation minus reference `[view, node, row, position]`, from `[view, row, position, node]`."""
        delta = activation.movedim(-1, 1) - self._references[site]
        return torch.where(self.tokens_of[site], delta, 0.0)

    def mean_over_tokens(self, site: int, x: Tensor) -> Tensor:
        """`x` `[view, row, position, node]` averaged over each node's tokens, `[view, node, prompt]`; NaN without."""
        tokens = self.tokens_of[site]
        per_row = (x.movedim(-1, 1) * tokens).sum(-1)
        rows = self.prompts.batch.answers.rows_per_prompt
        total = per_row.reshape(*per_row.shape[:2], -1, rows).sum(-1)
        return total / tokens.sum(-1).reshape(len(tokens), -1, rows).sum(-1)

    # -- what sites write --------------------------------------------------------------------------------------------

    def _decode(self, site: int, delta: Tensor) -> Tensor:
        """`delta` `[..., node, row, position]` through the decoder, `[..., row, position, d_out]`."""
        return delta.movedim(-3, -1) @ self.nodes[site].decoder

    def _error(self, site: int) -> Tensor | None:
        return self.prompts.errors[site]

    def _written(self, site: int, x: Tensor, output: Tensor, decoded: Tensor, error: Tensor | None) -> Tensor:
        """What a site writes, `[..., row, position, d_out]`, with its transform for the input `x`."""
        transform = self.nodes[site].sae.transform
        written = decoded if transform is None else transform.post_decode(decoded, x.float())
        written = written if error is None else written + error
        return torch.where(self.spliced, written.to(output.dtype), output)

    def _responding(self, site: int, x: Tensor, output: Tensor) -> Tensor:
        """The circuit's own splice, for views `x` `[view x row, position, d_in]`."""
        x, output = self._unflat(x), self._unflat(output)
        delta = self.delta_of(site, self.nodes[site].respond(x))
        decoded = self._base[site] + self._decode(site, delta)
        return self._written(site, x, output, decoded, self._error(site)).flatten(0, 1)

    def _held(self, site: int, x: Tensor, output: Tensor) -> Tensor:
        """What the circuit writes at a site, whatever the views' `x`; a skip connection passes their difference on."""
        held, transform = self.outputs[site], self.nodes[site].sae.transform
        if isinstance(transform, Skip):
            zero = torch.zeros_like(held)
            moved = transform.post_decode(zero, self._unflat(x)) - transform.post_decode(zero, self.inputs[site])
            held = held + moved
        return torch.where(self.spliced, held, self._unflat(output)).flatten(0, 1)

    def _seen(self, site: int, weights: Tensor, delta: Tensor, x: Tensor, output: Tensor) -> Tensor:
        """What views see of a site; `weights` `[view, end]` is 1 at what they see."""
        ends, latents = self.space.of_site(site), self.space.latents_of(site)
        seen = weights[:, latents.start : latents.stop, None, None] * delta
        decoded = self._base[site] + self._decode(site, seen)
        x, output = self._unflat(x), self._unflat(output)
        held = x if isinstance(self.nodes[site].sae.transform, Skip) else self.inputs[site]
        error = self._error(site)
        if error is not None and len(ends) > len(latents):
            error = weights[:, latents.stop : ends.stop][:, self._present_index].unsqueeze(-1) * error
        return self._written(site, held, output, decoded, error).flatten(0, 1)

    # -- running -----------------------------------------------------------------------------------------------------

    def _sweep(
        self, first: int, last: int, resid: Tensor, patch: Callable[[int], HookPatch], keep_entering: bool = False
    ) -> Tensor | None:
        """Runs the groups of sites from that of site `first` to that of site `last`, with a patch at each site.

        `resid` `[view x row, position, d_model]` enters the first group. Returns the logit difference `[view, prompt]`
        if the sweep went on to the logits (`last` is the number of sites).
        """
        model, sites = self.problem.model, self.problem.sites
        for group in site_groups(sites):
            if group.stop <= first:
                continue
            here = range(group.start, min(group.stop, last + 1))
            if keep_entering:
                self.entering[group.start : group.stop] = [resid] * len(group)
            resid = run_patched(model, sites[here.start : here.stop], resid, [patch(index) for index in here])
            if last < group.stop:
                return None
            if group.stop < len(sites):
                resid = model.run_blocks(resid, sites[here.start].depth_after, sites[group.stop].depth)
        batch, n_views = self.prompts.batch, len(resid) // self.n_rows
        view = torch.arange(n_views, device=resid.device).repeat_interleave(len(batch.read_rows))
        rows = batch.read_rows.repeat(n_views) + view * self.n_rows
        logits = model.logits_from(resid, sites[-1].depth_after, batch.read_columns.repeat(n_views), rows)
        return torch.stack([batch.logit_difference(part) for part in logits.split(len(batch.read_rows))])

    def _views(self, x: Tensor, count: int) -> Tensor:
        """`x` `[row, ...]` repeated for `count` views, `[view x row, ...]`."""
        return x.expand(count, *x.shape).flatten(0, 1)

    def _unflat(self, x: Tensor) -> Tensor:
        """`[view x row, ...]` as `[view, row, ...]`."""
        return x.reshape(-1, self.n_rows, *x.shape[1:])
