"""One circuit that is kept through its changes and judged by all that a search must hold."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from circuit_tui.core.evaluation.journal import recalled_increments
from circuit_tui.core.evaluation.live_circuit import LiveCircuit
from circuit_tui.core.evaluation.many_circuits import most_at_once, toggled
from circuit_tui.core.evaluation.metrics import PromptMetrics
from circuit_tui.core.runtime.incremental import Increments, incremental
from circuit_tui.core.search.judge import Judge, Judgement


class JudgedCircuit:
    """The circuit `kept` `[node]` bool on the prompts of `judge`, which is prepared.

    Attributes:
        judge: says how good it is.
    """

    def __init__(self, judge: Judge, kept: Tensor) -> None:
        self.judge = judge
        self._lives = [LiveCircuit(evaluator, kept) for evaluator in judge.evaluators]
        self._order = list(range(len(self._lives)))

    @property
    def kept(self) -> Tensor:
        """The circuit, `[node]` bool."""
        return self._lives[0].kept

    @property
    def judgement(self) -> Judgement:
        """Of the circuit."""
        return self.judge.of_runs([live.measured for live in self._lives])

    @incremental
    def advance_to(self, kept: Tensor) -> Increments[None]:
        """Makes `kept` `[node]` bool the circuit."""
        for live in self._lives:
            yield from live.advance_to(kept)

    @incremental
    def judge_alternative(self, kept: Tensor) -> Increments[Judgement]:
        """Judges the circuit `kept` `[node]` bool; the circuit stays."""
        return (yield from self.judge_first_alternatives(kept.unsqueeze(0)))[0]

    @incremental
    def judge_first_alternatives(self, kept: Tensor) -> Increments[list[Judgement]]:
        """Judges the first of the circuits `kept` `[circuit, node]` bool; the circuit stays.

        Those are as many as one pass should run for faithfulness alone, else one.
        """
        judge = self.judge
        if judge.alone:
            means = yield from self._lives[0].evaluate_first_alternatives(kept)
            return [Judgement.of_faithfulness(judge.evaluators[0].baselines.faithfulness(mean)) for mean in means]
        found = []
        for number in range(len(self._lives)):
            found.append((yield from self._values_under(number, kept[0])))
        faithfulness, values = float(found[0][0]), torch.cat([each[1:] for each in found]).double()
        return [judge.of_values(faithfulness, values)]

    @incremental
    def judge_first_toggled(self, nodes: Sequence[int], wanted: float | None = None) -> Increments[list[Judgement]]:
        """Judges the circuit with the first of `nodes` alone toggled, then the second: see the method above.

        One whose score is nearer to `wanted` than passes differ is judged by a pass of its own.
        """
        circuits = toggled(self.kept, nodes[: most_at_once(self.judge.evaluators[0].problem)])
        judgements = yield from self.judge_first_alternatives(circuits)
        for number, judgement in enumerate(judgements):
            if wanted is not None and len(judgements) > 1 and self.judge.is_near(judgement, wanted):
                judgements[number] = yield from self.judge_alternative(circuits[number])
        return judgements

    @incremental
    def first_alternatives_reach(self, kept: Tensor, wanted: float) -> Increments[list[bool]]:
        """Whether each of the first of the circuits `kept` `[circuit, node]` bool has the score `wanted`.

        The circuit stays. Of several in a pass, all up to the first that has it are answered for. One that is nearer to
        `wanted` than passes differ is judged by a pass of its own.
        """
        if not self.judge.alone:
            return [(yield from self._alternative_reaches(kept[0], wanted))]
        judgements, reached = (yield from self.judge_first_alternatives(kept)), list[bool]()
        for number, judgement in enumerate(judgements):
            if len(judgements) > 1 and self.judge.is_near(judgement, wanted):
                judgement = yield from self.judge_alternative(kept[number])
            reached.append(judgement.score >= wanted)
            if reached[-1]:
                break
        return reached

    def _alternative_reaches(self, kept: Tensor, wanted: float) -> Increments[bool]:
        """Whether the circuit `kept` `[node]` bool has the score `wanted`.

        Ablations under which an alternative failed last are tried first, and the first failure is the answer.
        """
        for number in list(self._order):
            values = yield from self._values_under(number, kept)
            if not self.judge.score_under(number, values[1:].tolist()) >= wanted:
                self._order.remove(number)
                self._order.insert(0, number)
                return False
        return True

    def _values_under(self, number: int, kept: Tensor) -> Increments[Tensor]:
        """Faithfulness, and the values of the conditions under ablation `number`, `[1 + condition]` float32."""
        evaluator, live = self.judge.evaluators[number], self._lives[number]
        changed = evaluator.problem.space.site[kept != live.kept]
        sites_run = len(evaluator.problem.sites) - int(changed.min()) if len(changed) else 0
        key = ("values instead", " ".join(map(str, self.judge.conditions)), evaluator.identity, live.kept, kept)
        increments = self._compute_values(number, kept)
        return (yield from recalled_increments(increments, evaluator.n_rounds * sites_run, *key))

    def _compute_values(self, number: int, kept: Tensor) -> Increments[Tensor]:
        live, evaluator = self._lives[number], self.judge.evaluators[number]
        if self.judge.needs_vocabulary:
            measured = yield from live.alternative_metrics(kept)
        else:
            differences = yield from live.measure_alternative(kept)
            unknown = torch.full_like(differences, float("nan"))
            measured = PromptMetrics(differences, unknown, unknown)
        faithfulness = evaluator.baselines.faithfulness(measured.mean_logit_diff)
        # As float32, in which a journal keeps them: a search that is run again decides by the same values.
        return torch.tensor([faithfulness, *self.judge.values_under(number, measured)], dtype=torch.float32)
