"""What a circuit reaches of everything that a search had to hold, on search and held-out prompts."""

from __future__ import annotations

from torch import Tensor

from circuit_tui.core.evaluation.evaluator import Evaluator
from circuit_tui.core.runtime.incremental import Increments, incremental
from circuit_tui.core.search.judge import Judge
from circuit_tui.core.views import HeldValue


@incremental
def held_values(judge: Judge, test: Evaluator | None, kept: Tensor) -> Increments[tuple[HeldValue, ...]]:
    """Returns every condition of `judge` with its values for the circuit `kept` `[node]` bool, ablation by ablation.

    A condition has no held-out value without `test`, or where held-out prompts have other templates.

    Raises:
        UserError: an objective has no value, since the empty circuit does as the model does.
    """
    yield from judge.prepare()
    on_train = yield from judge.judge(kept)
    on_test: tuple[float | None, ...] = tuple(None for _ in on_train.values)
    if test is not None:
        other = Judge(judge.spec, test)
        yield from other.prepare()
        if other.conditions == judge.conditions:
            on_test = (yield from other.judge(kept)).values
    return tuple(
        HeldValue(each.objective.kind, each.objective.target, each.ablation, each.template, value, tested)
        for each, value, tested in zip(judge.conditions, on_train.values, on_test, strict=True)
    )
