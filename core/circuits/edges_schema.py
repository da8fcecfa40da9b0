"""The edges of a circuit as data: the part `edges` of a circuit file."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from circuit_tui.core.circuits.part import Part

Count = Annotated[int, Field(ge=0)]


class EdgeEndPart(Part):
    """One end of edges. `hook` is null for a token, `position` for the logit difference, `latent` unless it is one."""

    kind: Literal["token", "latent", "error", "logits"]
    hook: str | None
    position: str | None
    latent: Count | None


class HeadPart(Part):
    """The part of an edge's frozen part whose last head on the way is this one; `aligned` as in `EdgeValuePart`."""

    block: Count
    head: Count
    value: float
    aligned: float


class EdgeValuePart(Part):
    """One edge between two of `ends`: means over the prompts (`docs/edges.md` defines them).

    `direct` is the exact edge, `spread` its standard deviation over prompts, `total` the exact effect with everything
    behind the source responding, in units of the target's pre-activation; `metric` the loss of faithfulness, null if
    not computed. `past_heads`, `heads` and `other_heads` (those too small to list) add up to `frozen`.
    `size` is the mean of |edge|; `aligned` numbers have the sign that makes each prompt's edge positive.
    """

    source: Count
    target: Count
    direct: float
    spread: float
    total: float
    activation: float
    flips: Annotated[float, Field(ge=0, le=1)]
    frozen: float
    past_heads: float
    heads: tuple[HeadPart, ...]
    other_heads: float
    size: float
    aligned_past_heads: float
    attribution: float
    metric: float | None


class EdgePointPart(Part):
    """One edge circuit of the frontier: its number of edges and its faithfulness on both splits."""

    size: Count
    train: float
    test: float


class EdgeCircuitPart(Part):
    """The edges left by an elimination. `kept` are indices of `values`.

    `target` is the share of the gap between the empty circuit and M that was to be held on the search prompts;
    `train` and `test` are what the edges left hold, on the search prompts and held out.
    """

    kept: tuple[Count, ...]
    target: float
    reached: bool
    train: float
    test: float
    frontier: tuple[EdgePointPart, ...]


class EdgesPart(Part):
    """All edges of the circuit, computed on `n_prompts` prompts of `split` in float32.

    `reference` says what a source at its reference is, `method` how the values were computed. `faithfulness` is that of
    all edges, which is the circuit's own; `empty` that with edges to the logit difference alone.
    """

    reference: str
    split: Literal["test"]
    n_prompts: Count
    method: Literal["exact"]
    ends: tuple[EdgeEndPart, ...]
    values: tuple[EdgeValuePart, ...]
    faithfulness: float
    empty: float
    circuit: EdgeCircuitPart | None

    @model_validator(mode="after")
    def _indices_are_in_range(self) -> Self:
        for number, edge in enumerate(self.values):
            if max(edge.source, edge.target) >= len(self.ends):
                raise ValueError(f"values[{number}] names an end beyond the {len(self.ends)} of 'ends'")
        if self.circuit is not None and max(self.circuit.kept, default=-1) >= len(self.values):
            raise ValueError(f"circuit.kept names an edge beyond the {len(self.values)} of 'values'")
        return self
