"""What a pass of a circuit over one batch can do: go on to a changed circuit, or try one without going on to it."""

from __future__ import annotations

from typing import Protocol

from torch import Tensor

from circuit_tui.core.evaluation.many_circuits import Circuits
from circuit_tui.core.runtime.incremental import Incremental
from circuit_tui.core.splice.batch import Batch


class CircuitPass(Protocol):
    """The pass of one circuit over `batch`, kept so that a changed circuit runs only in part.

    A new pass holds no circuit; the first `advance_to` starts at site 0.
    """

    batch: Batch

    def advance_to(self, kept: Tensor, start: int) -> Incremental[Tensor]:
        """Runs the circuit `kept` `[node]` bool site by site and keeps its pass; returns its logits `[read, vocab]`.

        `kept` differs from the circuit before it at site `start` at the earliest.
        """

    def evaluate_alternatives(self, circuits: Circuits, current: Tensor) -> Incremental[Tensor]:
        """Returns the logits `[read, vocab]` of `circuits`, site by site; keeps nothing of them.

        The reads are those of the batch `batch.of_circuits(len(circuits))`. `current` `[node]` bool is the circuit
        whose pass is kept, from which some of them must differ; all run from the first site at which one does.
        """

    def work(self, changed: Tensor) -> float:
        """Returns about how many operations a circuit takes that differs in the nodes `changed` `[node]` bool."""

    def change_sizes(self, kept: Tensor, current: Tensor) -> Tensor:
        """Returns how far the circuit `kept` `[node]` bool moves the outputs of the sites at which it differs, `[row]`.

        `current` `[node]` bool is the circuit whose pass is kept; each site has the input that `current` gives it
        (`change_size_at`), and sites are added up. Where the sum is 0, both circuits compute the same.
        """
