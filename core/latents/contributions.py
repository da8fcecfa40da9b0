"""The exact contribution of each kept node to the answer of one prompt.

With LD the logit difference of the prompt and C the circuit,

    contribution of a node    LD(C) - LD(C without the node)
    contribution of a token   LD(C) - LD(C, every node at its reference at this token)

Contributions do not add up to LD(C): nodes act on each other. All nodes of one site are ablated in one pass, each in a
copy of the prompt. The first copy keeps all nodes, so that the difference is one between rows of the same pass.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from circuit_tui.core.evaluation.evaluator import circuit_splice, pack_circuit
from circuit_tui.core.latents.clean_against_corrupt import latent_activations
from circuit_tui.core.runtime.incremental import Increments, incremental
from circuit_tui.core.splice.batch import Batch
from circuit_tui.core.splice.problem import Problem
from circuit_tui.core.splice.splice import Splice, run_spliced
from circuit_tui.core.tasks.task import Split

MAX_COPIES = 64
"""The most copies of a prompt in one pass."""


@dataclass(frozen=True, slots=True)
class _AblatedInRows(Splice):
    """The splice of a circuit at one site, with one node more ablated in each row.

    `circuit` is the splice of the whole circuit on `batch`, copies of one prompt. The first copy keeps every node, copy
    k + 1 lacks node number `nodes[k]`.
    """

    problem: Problem
    site: int
    circuit: Splice
    batch: Batch
    nodes: Tensor

    def __call__(self, x: Tensor, output: Tensor) -> Tensor:
        """Returns the circuit's output less what each row's node adds beyond its reference."""
        spliced = self.circuit(x, output)
        problem, space, sae = self.problem, self.problem.space, self.problem.sites[self.site].sae
        n_rows = self.batch.answers.rows_per_prompt
        latents, positions = (part[self.nodes].to(x.device) for part in (space.latent, space.position))
        own = x[:n_rows]  # all copies are alike as far as this site
        activations = latent_activations(problem, self.site, latents, own)  # [row of the prompt, position, node]
        reference_rows = self.batch.reference_rows[:n_rows].clamp(min=0)
        references = problem.reference_tables[self.site].values[reference_rows.unsqueeze(-1), latents]
        stands = self.batch.ids[:n_rows].unsqueeze(-1) == positions
        delta = ((activations - references) * stands).permute(2, 0, 1).flatten(0, 1)  # [node x row, position]
        directions = sae.directions(latents).repeat_interleave(n_rows, 0)
        added = delta.unsqueeze(-1) * directions.unsqueeze(1)
        if sae.transform is not None:
            added = sae.transform.scale(added, x[n_rows:].float())
        ablated = spliced.clone()
        ablated[n_rows:] -= added.to(spliced.dtype)
        return ablated


@dataclass(frozen=True, slots=True)
class _AblatedAtToken(Splice):
    """The splice of a circuit, with all of its nodes ablated where `ablated` `[row, position]` is true."""

    circuit: Splice
    empty: Splice
    ablated: Tensor

    def __call__(self, x: Tensor, output: Tensor) -> Tensor:
        """Returns the circuit's output, or that of the empty circuit."""
        return torch.where(self.ablated.unsqueeze(-1), self.empty(x, output), self.circuit(x, output))


class PromptContributions:
    """The contributions on one prompt of a split under the circuit `kept` `[node]` bool.

    Attributes:
        nodes: the kept nodes.
        logit_diff: the logit difference of the circuit.
        values: contribution of each of `nodes`, None until computed.
        tokens: the columns of the prompt's tokens that are not BOS; `by_token` has the contribution of each.
        done: whether everything is computed.
    """

    @torch.no_grad()
    def __init__(self, problem: Problem, kept: Tensor, split: Split, prompt: int) -> None:
        self._problem, self._kept, self._split, self._prompt = problem, kept, split, prompt
        self._packs = pack_circuit(problem, kept)
        self._inputs: list[Tensor] = []
        batch = self._copies(1)
        splices = [circuit_splice(problem, batch, site, pack) for site, pack in enumerate(self._packs)]
        logits = run_spliced(problem.model, problem.sites, batch, splices, inputs=self._inputs).result()
        self.logit_diff = float(batch.logit_difference(logits)[0])
        self.nodes: list[int] = kept.nonzero()[:, 0].tolist()
        self.values: dict[int, float] = {}
        side = problem.prompt_sets[split].clean
        row = prompt * batch.answers.rows_per_prompt
        self.tokens = range(side.n_bos, int(side.lengths[row]))
        self.by_token: list[float | None] = [None] * len(self.tokens)
        self.done = False
        self._increments = self._compute()

    def advance(self) -> None:
        """Computes the contributions of the next nodes, or of the tokens."""
        self.done = next(self._increments, True) is True

    @torch.no_grad()
    def _compute(self) -> Increments[None]:
        for site in range(len(self._problem.sites)):
            for nodes in self._problem.space.kept_of_site(self._kept, site).split(MAX_COPIES):
                values = yield from self._without_nodes(site, nodes)
                self.values.update(zip(nodes.tolist(), values, strict=True))
                yield
        for columns in torch.tensor(list(self.tokens)).split(MAX_COPIES):
            values = yield from self._without_tokens(columns)
            start = int(columns[0]) - self.tokens.start
            self.by_token[start : start + len(columns)] = values
            yield

    def _copies(self, count: int) -> Batch:
        device = self._problem.model.device
        return self._problem.batch(self._split, torch.full((count,), self._prompt, device=device))

    def _without_nodes(self, site: int, nodes: Tensor) -> Increments[list[float]]:
        batch = self._copies(1 + len(nodes))
        splices = self._circuit_splices(batch)
        splices[site] = _AblatedInRows(self._problem, site, splices[site], batch, nodes)
        return (yield from self._contributions(batch, splices, site))

    def _without_tokens(self, columns: Tensor) -> Increments[list[float]]:
        batch, problem = self._copies(1 + len(columns)), self._problem
        ablated = torch.zeros(1 + len(columns), batch.prefix.shape[1], dtype=torch.bool, device=batch.prefix.device)
        ablated[torch.arange(1, 1 + len(columns)), columns] = True
        ablated = ablated.repeat_interleave(batch.answers.rows_per_prompt, 0)
        nothing = pack_circuit(problem, torch.zeros_like(self._kept))
        splices: list[Splice] = [
            _AblatedAtToken(circuit, circuit_splice(problem, batch, site, nothing[site]), ablated)
            for site, circuit in enumerate(self._circuit_splices(batch))
        ]
        return (yield from self._contributions(batch, splices, 0))

    def _circuit_splices(self, batch: Batch) -> list[Splice]:
        return [circuit_splice(self._problem, batch, site, pack) for site, pack in enumerate(self._packs)]

    def _contributions(self, batch: Batch, splices: Sequence[Splice], start: int) -> Increments[list[float]]:
        """Returns what every copy but the first lacks of the first one's logit difference."""
        model, sites = self._problem.model, self._problem.sites
        resid = self._inputs[start].repeat(len(batch), 1, 1)
        logits = yield from run_spliced(model, sites, batch, splices, start, resid)
        differences = batch.logit_difference(logits).double()
        found: list[float] = (differences[0] - differences[1:]).tolist()
        return found


@incremental
def contributions(problem: Problem, kept: Tensor, split: Split, prompt: int) -> Increments[PromptContributions]:
    """Returns the contributions on one prompt, all computed."""
    computed = PromptContributions(problem, kept, split, prompt)
    while not computed.done:
        computed.advance()
        yield
    return computed
