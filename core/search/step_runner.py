"""Runs the steps of an optimisation: as they are, or recorded as a graph and replayed where the device can do that.

With a set of active nodes the first step runs as it is, the second is recorded, and all others replay it: prompts are
copied to where the recorded step finds them. Where recording fails, or cannot be, steps run as they are.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable

import torch

from circuit_tui.core.errors import first_line
from circuit_tui.core.runtime import device_graphs
from circuit_tui.core.runtime.device_graphs import Graph, Mark
from circuit_tui.core.runtime.out_of_memory import is_out_of_memory
from circuit_tui.core.runtime.user_log import user_log
from circuit_tui.core.search.minibatches import MiniBatch, ShuffledBatches
from circuit_tui.core.search.objective import MaskedModel
from circuit_tui.core.splice.batch import Batch
from circuit_tui.core.splice.problem import Problem
from circuit_tui.core.views import StepPath

log = logging.getLogger(__name__)

IN_FLIGHT = 2
"""The most steps that the device has been given and not finished: an edit waits for them."""
MAX_PADDING = 2.0
"""How many times as long as the mean prompt the longest may be: recorded steps pad all prompts to it."""
MOST_GRAPHS = 2
"""Sets of active nodes with a graph: all nodes, and those that take part in most steps."""

TakeStep = Callable[[MaskedModel, Batch | MiniBatch], None]
"""Takes one step on some prompts, all on tensors that stay where they are (`methods/mask_step.py`)."""


class StepRunner:
    """Runs `take_step` on mini-batches of the train prompts of `problem`.

    `why_not` says why a step that has been recorded cannot be replayed for all others; empty if it can.

    Attributes:
        path: how steps run: ``"captured"`` if they are recorded and replayed, ``"eager"`` if they run as they are
            though the device is a GPU, empty on a CPU.
        reads_rarely: whether whoever waits for a step's numbers keeps the device waiting for the next.
    """

    def __init__(self, problem: Problem, batches: ShuffledBatches, take_step: TakeStep, why_not: str = "") -> None:
        self._problem, self._batches, self._take_step = problem, batches, take_step
        model = problem.model
        self._graphs = device_graphs.graphs_on(model.devices)
        self.reads_rarely = self._graphs is not None or model.device.type != "cpu"
        self.path: StepPath = ""
        if self.reads_rarely:
            self.path = "eager" if self._graphs is None else "captured"
        if self._graphs is not None and (why_not := why_not or _cannot_record(problem)):
            self._go_on_eagerly(why_not)
        if self._graphs is not None:
            self._shape = problem.batch_shape("train", batches.size)
            self._prompts = torch.zeros(batches.size, dtype=torch.long, device=model.device)
        self._recorded: list[tuple[MaskedModel, Graph | None]] = []
        self._marks: deque[Mark] = deque()

    def run(self, masked: MaskedModel) -> None:
        """Takes a step on the next mini-batch, in which the active nodes of `masked` take part."""
        prompts, graphs = self._batches.next_prompts(), self._graphs
        if graphs is None:
            self._take(masked, self._batches.of(prompts))
            return
        while len(self._marks) >= IN_FLIGHT:
            self._marks.popleft().synchronize()
        graphs.send(prompts, self._prompts)

        def body() -> None:
            self._take(masked, self._problem.batch("train", self._prompts, self._shape))

        index = next((index for index, (each, _) in enumerate(self._recorded) if each is masked), None)
        if index is None:
            del self._recorded[MOST_GRAPHS - 1 :]  # a smaller set takes the place of the one before
            self._recorded.append((masked, None))
            graphs.warm_up(body)
        else:
            graph = self._recorded[index][1]
            if graph is None:
                try:
                    graph = graphs.record(body)
                except RuntimeError as error:
                    if is_out_of_memory(error):
                        raise
                    log.warning("a step cannot be recorded", exc_info=True)
                    self._go_on_eagerly(first_line(error))
                    self._take(masked, self._batches.of(prompts))
                    return
                self._recorded[index] = masked, graph
            graph.replay()
        self._marks.append(graphs.mark())

    def _take(self, masked: MaskedModel, batch: Batch | MiniBatch) -> None:
        self._take_step(masked, batch)
        masked.release(batch)

    def _go_on_eagerly(self, why: str) -> None:
        self._graphs, self.path = None, "eager"
        self._recorded = []
        user_log.warning("The steps of this search run one kernel at a time, which is slower: %s.", why.rstrip("."))


def _cannot_record(problem: Problem) -> str:
    """Why the steps on `problem` cannot be recorded; empty if they can."""
    if problem.model.padding_side == "left":
        return "rows are padded on the left"
    lengths = problem.splits["train"].prompt_lengths.float()
    if float(lengths.max()) > MAX_PADDING * float(lengths.mean()):
        return "the longest prompt is more than twice as long as the mean"
    return ""
