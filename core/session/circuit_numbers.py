"""The numbers of the current circuit: test metrics at once, all other numbers in increments.

The test metrics are exact at once if, going by earlier evaluations, that takes at most `sampled_estimate.EXACT_WITHIN`
seconds. Else they are an estimate with standard errors, which the first increments replace by the exact numbers. Of a
kept node whose effect is known, the faithfulness without it is exact at once. The
other numbers are completeness, the train metrics and the effect of every kept node. A new circuit drops all of them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from torch import Tensor

from circuit_tui.core.evaluation.evaluator import Evaluator
from circuit_tui.core.evaluation.live_circuit import LiveCircuit
from circuit_tui.core.evaluation.sampled_estimate import Pace, Probe, cluster_sample, sample_size
from circuit_tui.core.runtime.incremental import Incremental, Increments
from circuit_tui.core.views import Metrics, StandardErrors


class CircuitNumbers:
    """The numbers of one circuit through its changes.

    Attributes:
        kept: the circuit, `[node]` bool.
        live: the circuit on the test prompts; outdated while `estimated`.
        test: the test metrics; their completeness is None until computed.
        errors: the standard errors of `test` if it is an estimate, else None.
        train, train_logit_diff: the train metrics and the logit difference of each train prompt; None until computed.
        effects: the exact effect of each kept node computed so far: the drop in test faithfulness without it.
        done: whether nothing is left to compute.
    """

    test: Metrics
    errors: StandardErrors | None
    train: Metrics | None
    train_logit_diff: Tensor | None
    effects: dict[int, float]
    done: bool

    def __init__(self, test: Evaluator, train: Evaluator, kept: Tensor, clock: Callable[[], float]) -> None:
        self._train, self._clock = train, clock
        self._model, self._sites = test.problem.model, test.problem.sites
        self._pace = Pace()
        self._probe: Probe | None = None
        self.kept = kept
        begun = clock()
        self.live = LiveCircuit(test, kept)
        self._pace.record(self._blocks(0), clock() - begun)
        self._show_measured()
        self._begin()

    def follow(self, kept: Tensor) -> None:
        """Makes `kept` `[node]` bool the circuit, and computes its test metrics or an estimate of them."""
        self.kept = kept
        first = self.live.first_changed_site(kept)
        if first is None:  # back to the last circuit that was evaluated exactly
            self._show_measured()
            self._begin()
            return
        blocks, without = self._blocks(first), self._without_one(kept)
        if self._probe is None or sample_size(len(self.live.evaluator), self._pace.predict(blocks)) is None:
            Incremental(self._exact(kept, blocks)).result()
            self._begin()
            return
        estimate = self._probe.estimate(self.live.measured, kept, self.live.change_sizes(kept))
        self._begin(self._exact(kept, blocks))
        self.test, self.errors = estimate.metrics, estimate.errors
        if without is not None:
            baselines = self.live.evaluator.baselines
            self.test = replace(
                self.test,
                logit_diff=without,
                faithfulness=baselines.faithfulness(without),
                faithfulness_spliced=baselines.faithfulness_spliced(without),
            )
            self.errors = StandardErrors(0.0, 0.0, estimate.errors.kl)

    @property
    def estimated(self) -> bool:
        """Whether `test` is an estimate."""
        return self.errors is not None

    def advance(self) -> None:
        """Computes one increment: a batch of prompts, or its way from one site to the next."""
        self.done = next(self._increments, True) is True

    def effect_column(self) -> tuple[float | None, ...]:
        """Returns the effect of every node; None for a node whose effect is not computed."""
        column: list[float | None] = [None] * len(self.kept)
        for node, value in self.effects.items():
            column[node] = value
        return tuple(column)

    def complete(self) -> None:
        """Computes everything that is left."""
        while not self.done:
            self.advance()

    def be_exact(self) -> None:
        """Computes until the test metrics are exact."""
        while self.estimated:
            self.advance()

    def _without_one(self, kept: Tensor) -> float | None:
        """Returns the mean logit difference of the circuit `kept` if it was computed for the effect of a node."""
        changed = (kept != self.live.kept).nonzero()[:, 0].tolist()
        return self._without.get(changed[0]) if len(changed) == 1 else None

    def _show_measured(self) -> None:
        """Makes the exact metrics of `live` the test metrics; with their interval that takes milliseconds."""
        self.test, self.errors = self.live.evaluator.summarise(self.live.measured), None

    def _begin(self, first: Increments[None] | None = None) -> None:
        """Drops all numbers but the test metrics; their increments are computed behind those of `first`."""
        self.train = self.train_logit_diff = None
        self.effects = {}
        self._without: dict[int, float] = {}
        self._increments = self._compute(first)
        self.done = False

    def _blocks(self, site: int) -> int:
        """Returns the number of blocks that run again from `site` on."""
        return self._model.n_layers - self._sites[site].depth

    def _exact(self, kept: Tensor, blocks: int) -> Increments[None]:
        """Brings `live` to `kept`, and records how long that takes for `blocks` blocks."""
        increments, seconds = self.live.advance_to(kept), 0.0
        while True:
            begun = self._clock()
            more = next(increments, True) is None
            seconds += self._clock() - begun
            if not more:
                break
            yield
        self._pace.record(blocks, seconds)
        self._show_measured()

    def _compute(self, first: Increments[None] | None) -> Increments[None]:
        live, evaluator = self.live, self.live.evaluator
        if first is not None:
            yield from first
        size = sample_size(len(evaluator), self._pace.predict(self._blocks(0)))
        sample = cluster_sample(evaluator, size) if self._probe is None and size is not None else None
        if sample is not None:
            self._probe = Probe(evaluator, live.kept, sample)
            yield
        self.test = yield from evaluator.with_completeness(self.test, live.kept)
        measured = yield from self._train.measure(live.kept)
        self.train_logit_diff = measured.logit_diff
        self.train = yield from self._train.with_completeness(self._train.summarise(measured), live.kept)
        space, nodes = live.evaluator.problem.space, live.kept.nonzero()[:, 0].tolist()
        # In the order in which passes meet them: those that run together share most of it.
        nodes.sort(key=lambda node: (int(space.site[node]), int(space.position[node])))
        while nodes:
            values = yield from live.evaluate_first_toggled(nodes)
            for node, value in zip(nodes, values, strict=False):
                self._without[node] = value
                self.effects[node] = self.test.faithfulness - evaluator.baselines.faithfulness(value)
            nodes = nodes[len(values) :]
