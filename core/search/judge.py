"""Judges circuits by all that a search must hold: every objective, under every ablation, on every template.

Each combination is a *condition*. Its value is that of the objective (`objectives.py`). With T the target of the first
objective, and T_c that of a condition c, the score of a circuit is

    score = 1 - max over c of (1 - T) / (1 - T_c) * |1 - value_c|

So a circuit's score is at least T if and only if every condition is reached, and for faithfulness alone it is
1 - |1 - f|. A template is the prompts whose words have the same roles; prompts without roles are one template.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from circuit_tui.core.choices import AblationKind
from circuit_tui.core.errors import UserError
from circuit_tui.core.evaluation.bootstrap import ratio_interval
from circuit_tui.core.evaluation.evaluator import Evaluator
from circuit_tui.core.evaluation.many_circuits import may_differ
from circuit_tui.core.evaluation.metrics import Baselines, PromptMetrics
from circuit_tui.core.runtime.incremental import Increments, incremental
from circuit_tui.core.search.frontier import score
from circuit_tui.core.search.objectives import FROM_LOGIT_DIFF, Objective
from circuit_tui.core.search.quantities import measured_quantity
from circuit_tui.core.search.spec import SearchSpec
from circuit_tui.core.splice.other_ablation import under_ablation
from circuit_tui.core.splice.problem import Problem

RESAMPLE_SEED = 0
"""Of the draws by which circuits are judged. An optimisation draws its own."""
FEWEST_OF_TEMPLATE = 16
"""From fewer prompts there is no mean worth holding: such templates count together."""
SMALLEST_GAP = 1e-3
"""A quantity that differs less between M and the empty circuit leaves nothing to hold."""


@dataclass(frozen=True, slots=True)
class Condition:
    """One objective, under one ablation, on the prompts of one template; `template` is empty for all prompts."""

    objective: Objective
    ablation: AblationKind
    template: str = ""

    def __str__(self) -> str:
        return f"{self.objective.kind} under {self.ablation}" + (f" on {self.template}" if self.template else "")


@dataclass(frozen=True, slots=True)
class Judgement:
    """What a circuit was found to do.

    Attributes:
        faithfulness: against M, under the problem's own ablation, on all prompts.
        score: 1 less the largest distance from 1 among the conditions, each in units of what it allows.
        values: of each condition; empty for faithfulness alone.
        overshoots: whether the condition furthest from 1 is above it.
    """

    faithfulness: float
    score: float
    values: tuple[float, ...] = ()
    overshoots: bool = False

    @classmethod
    def of_faithfulness(cls, faithfulness: float) -> Judgement:
        """The judgement of a search for faithfulness alone."""
        return cls(faithfulness, score(faithfulness), (), not faithfulness <= 1)


class Judge:
    """Judges circuits on the prompts of `own`, the evaluator of the problem's own ablation.

    Attributes:
        evaluators: of each ablation, the problem's own first; the others once `prepare` has run.
        conditions: all that is held, ablation by ablation.
        scale: by how much the distance of each condition from 1 counts, `[condition]` float64.
    """

    def __init__(self, spec: SearchSpec, own: Evaluator, templates: Mapping[str, Tensor] | None = None) -> None:
        self.spec, self.evaluators = spec, [own]
        self.alone = spec.faithfulness_alone
        self._kinds: list[AblationKind] = list(dict.fromkeys((own.problem.ablation, *spec.ablations)))
        self._templates = _templates(own, each=spec.templates) if templates is None else templates
        self.conditions = [
            Condition(objective if kind == own.problem.ablation else relaxed, kind, template)
            for kind in self._kinds
            for objective, relaxed in zip(spec.held, spec.held_under_others, strict=True)
            for template in self._templates
        ]
        allowed = torch.tensor([1 - condition.objective.target for condition in self.conditions], dtype=torch.float64)
        self.scale = (1 - spec.target) / allowed
        self._prepared = self.alone

    @incremental
    def prepare(self) -> Increments[None]:
        """Opens the problem under the other ablations. Does nothing for faithfulness alone, or a second time.

        Raises:
            UserError: ``resample`` has nothing to draw from, or a quantity is the same for M and the empty circuit.
        """
        if self._prepared:
            return
        own = self.evaluators[0]
        for kind in self._kinds[1:]:
            problem = yield from under_ablation(own.problem, kind, RESAMPLE_SEED, (own.split,))
            self.evaluators.append((yield from own.under(problem)))
        self._check_gaps()
        self._prepared = True

    def on(self, prompts: Tensor, limits: Problem) -> Judge:
        """A judge on some of the prompts, numbers `[prompt]` of this judge's own; prepared if this one is.

        It takes no more memory than `limits` allows.
        """
        prompts = prompts.sort()[0]
        templates = {name: mask[prompts] for name, mask in self._templates.items()}
        judge = Judge(self.spec, self.evaluators[0].on(prompts, limits), templates)
        judge.evaluators += [evaluator.on(prompts, limits) for evaluator in self.evaluators[1:]]
        judge._prepared = self._prepared
        return judge

    @property
    def needs_vocabulary(self) -> bool:
        """Whether an objective needs the distribution over the vocabulary."""
        return any(condition.objective.kind not in FROM_LOGIT_DIFF for condition in self.conditions)

    @incremental
    def judge(self, kept: Tensor) -> Increments[Judgement]:
        """Judges the circuit `kept` `[node]` bool, from the beginning."""
        return (yield from self.judge_first(kept.unsqueeze(0)))[0]

    @incremental
    def judge_first(self, kept: Tensor) -> Increments[list[Judgement]]:
        """Judges the first of the circuits `kept` `[circuit, node]` bool, from the beginning.

        Those are as many as one pass should run for faithfulness alone, else one. A circuit that is nearer to the
        target than passes differ is judged by a pass of its own.
        """
        own = self.evaluators[0]
        if self.alone:
            values = yield from own.faithfulness_of_first(kept)
            for number, value in enumerate(values):
                if len(values) > 1 and self.is_near(Judgement.of_faithfulness(value), self.spec.target):
                    values[number] = yield from own.faithfulness(kept[number])
            return [Judgement.of_faithfulness(value) for value in values]
        measured = []
        for evaluator in self.evaluators:
            measured.append((yield from evaluator.measure(kept[0])))
        return [self.of_runs(measured)]

    def is_near(self, judgement: Judgement, wanted: float) -> bool:
        """Whether a score in a pass of several circuits is too near to `wanted` to say on which side it lies."""
        return abs(judgement.score - wanted) <= may_differ(self.evaluators[0].problem)

    def of_runs(self, measured: Sequence[PromptMetrics]) -> Judgement:
        """The judgement of a circuit whose run under each ablation is `measured`."""
        faithfulness = self.evaluators[0].baselines.faithfulness(measured[0].mean_logit_diff)
        if self.alone:
            return Judgement.of_faithfulness(faithfulness)
        values = [value for number, one in enumerate(measured) for value in self.values_under(number, one)]
        return self.of_values(faithfulness, torch.tensor(values, dtype=torch.float64))

    def values_under(self, number: int, measured: PromptMetrics) -> list[float]:
        """The values of the conditions of ablation `number`, of a circuit whose run under it is `measured`."""
        baselines = self.evaluators[number].baselines
        values = []
        for objective in self.spec.held:
            found, plain, empty = (
                measured_quantity(objective.kind, each, baselines.plain)
                for each in (measured, baselines.plain, baselines.empty)
            )
            for prompts in self._templates.values():
                nothing = empty[prompts].mean()
                value = float((found[prompts].mean() - nothing) / (plain[prompts].mean() - nothing))
                values.append(value if prompts.any() else 1.0)  # a sample may have none of a template: it says nothing
        return values

    def conditions_under(self, number: int) -> slice:
        """Where the conditions of ablation `number` are among all."""
        n = len(self.conditions) // len(self._kinds)
        return slice(number * n, (number + 1) * n)

    def distances(self, values: Tensor) -> Tensor:
        """How far `values` `[condition]` float64 are from 1, in units of what the first condition allows."""
        return self.scale * (1 - values).abs()

    def of_values(self, faithfulness: float, values: Tensor) -> Judgement:
        """The judgement of a circuit with these `values` `[condition]` float64."""
        distances = self.distances(values)
        worst = int(distances.argmax())
        found = 1 - float(distances[worst])
        return Judgement(faithfulness, found, tuple(values.tolist()), bool(values[worst] > 1))

    def score_under(self, number: int, values: Sequence[float]) -> float:
        """The score by the conditions of ablation `number` alone."""
        scale = self.scale[self.conditions_under(number)]
        return 1 - float((scale * (1 - torch.tensor(values, dtype=torch.float64)).abs()).max())

    def resolution(self, best: Sequence[PromptMetrics], other: Sequence[PromptMetrics]) -> float | None:
        """Half the width of the 95% bootstrap interval of the difference in score of two circuits; None if it has none.

        It is taken in the condition that is worst for `other`. `best` and `other` are runs under each ablation.
        """
        if self.alone:
            return _half_width(self.evaluators[0].interval(best[0].logit_diff - other[0].logit_diff))
        values = torch.tensor(self.of_runs(other).values, dtype=torch.float64)
        worst = int(self.distances(values).argmax())
        condition = self.conditions[worst]
        evaluator = self.evaluators[number := self._kinds.index(condition.ablation)]
        prompts, baselines = self._templates[condition.template], evaluator.baselines
        better, poorer, plain, empty = (
            measured_quantity(condition.objective.kind, each, baselines.plain)[prompts]
            for each in (best[number], other[number], baselines.plain, baselines.empty)
        )
        _, cluster = evaluator.cluster[prompts].unique(return_inverse=True)
        half = _half_width(ratio_interval(better - poorer, plain - empty, cluster))
        return None if half is None else half * float(self.scale[worst])

    @property
    def template_masks(self) -> list[Tensor]:
        """Which prompts each template has, `[prompt]` bool; a single mask of all without ``templates``."""
        return list(self._templates.values())

    def _check_gaps(self) -> None:
        for condition in self.conditions:
            baselines = self.evaluators[self._kinds.index(condition.ablation)].baselines
            gap = _gap(condition.objective, baselines, self._templates[condition.template])
            if not abs(gap) >= SMALLEST_GAP:
                raise UserError(
                    f"--objective {condition}: the empty circuit does as the model does ({gap:.2g} apart): there is "
                    "nothing to hold; leave it out"
                )


def _half_width(interval: tuple[float, float] | None) -> float | None:
    return None if interval is None else (interval[1] - interval[0]) / 2


def _gap(objective: Objective, baselines: Baselines, prompts: Tensor) -> float:
    plain, empty = (
        measured_quantity(objective.kind, each, baselines.plain)[prompts].mean()
        for each in (baselines.plain, baselines.empty)
    )
    return float(plain - empty)


def _templates(evaluator: Evaluator, *, each: bool) -> dict[str, Tensor]:
    """Which of its prompts have the same roles, `[prompt]` bool, by a name; one for all unless `each`."""
    every = {"": torch.ones(len(evaluator), dtype=torch.bool)}
    if not each:
        return every
    pairs = evaluator.problem.prompt_sets[evaluator.split].pairs
    roles = [pairs[prompt].roles for prompt in evaluator.prompts.tolist()]
    rest = every[""].clone()
    found: dict[str, Tensor] = {}
    for kind, count in Counter(roles).most_common():
        if count >= FEWEST_OF_TEMPLATE:
            same = torch.tensor([one == kind for one in roles])
            found[f"template {len(found) + 1}"] = same
            rest &= ~same
    if rest.any():
        found["the other templates"] = rest
    return found if len(found) > 1 else every
