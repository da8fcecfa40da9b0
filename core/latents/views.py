"""What a screen or a printer shows of latents: immutable, plain Python, no tensor. See `core/views.py`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class TopTokens:
    """The tokens whose logits a latent's decoder direction raises and lowers most, the most moved first."""

    site: int
    latent: int
    promotes: tuple[str, ...]
    suppresses: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class LatentColumns:
    """Columns of the node table that are computed after opening.

    `push[i]` is node i's direct push on the answers (`latents/answer_push.py`), in logits; None where no answer is read
    at its tokens. `push` itself is None until computed. `tokens` comes in chunks, those of kept latents first; chunks
    are only ever added. `tokens_done` of `n_latents` candidate latents have theirs.
    """

    push: tuple[float | None, ...] | None
    tokens: tuple[tuple[TopTokens, ...], ...]
    tokens_done: int
    n_latents: int

    @property
    def complete(self) -> bool:
        """Whether every candidate latent has its tokens."""
        return self.tokens_done == self.n_latents


@dataclass(frozen=True, slots=True)
class Contributions:
    """What each kept node contributes to the logit difference of one prompt: what it loses when the node is ablated.

    `logit_diff` is that of the circuit on this prompt. `nodes` are the kept nodes, `values` their contributions in
    logits. `by_token` is what is lost when every kept node is ablated at that token of `tokens` alone. None where not
    computed yet.
    """

    tokens: tuple[str, ...]
    logit_diff: float
    nodes: tuple[int, ...]
    values: tuple[float | None, ...]
    by_token: tuple[float | None, ...]

    @property
    def n_done(self) -> int:
        """How many nodes have their contribution."""
        return sum(value is not None for value in self.values)


@dataclass(frozen=True, slots=True)
class Explanation:
    """Why a circuit answers a prompt as it does: the nodes' contributions on it, and on its own corrupt prompt.

    `right` and `wrong` are the answers of the clean prompt, on both sides. `corrupt` is None until begun, or if it
    cannot be computed: `corrupt_error` then says why.
    """

    prompt: int
    text: str
    corrupt_text: str
    right: str
    wrong: str
    clean: Contributions
    corrupt: Contributions | None
    corrupt_error: str
    done: bool


@dataclass(frozen=True, slots=True)
class PromptEffect:
    """What some nodes do to the logit difference of one prompt; `circuit` is that of the circuit as it is."""

    prompt: int
    text: str
    right: str
    wrong: str
    circuit: float
    effect: float


@dataclass(frozen=True, slots=True)
class LatentPrompts:
    """The prompts on which some nodes matter, the largest |effect| first.

    If any of `nodes` is kept, `kept` is true and effects are what the circuit loses without them; else they are what it
    gains with them. `faithfulness` is the same over all prompts, as a share of m(M) - m(empty): the effect on the
    faithfulness, of the nodes as one. `interval` is its 95% bootstrap interval (`evaluation/bootstrap.py`), None where
    there is none.
    """

    nodes: tuple[int, ...]
    kept: bool
    prompts: tuple[PromptEffect, ...]
    faithfulness: float
    interval: tuple[float, float] | None


@dataclass(frozen=True, slots=True)
class UserWords:
    """What the user calls latents and nodes, for lists and filters.

    Attributes:
        labels: of (site, latent), shown in place of the table's.
        marked: node numbers.
        groups: the names of the groups that a node is in.
        colours: the colour of each group.
    """

    labels: Mapping[tuple[int, int], str] = field(default_factory=dict)
    marked: frozenset[int] = frozenset()
    groups: Mapping[int, tuple[str, ...]] = field(default_factory=dict)
    colours: Mapping[str, str] = field(default_factory=dict)
