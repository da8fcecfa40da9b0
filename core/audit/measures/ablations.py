"""Does the number depend on the ablation, or on how prompts are averaged?

Both move faithfulness (Miller et al. 2024). So the circuit is evaluated under every ablation, under resample with
several draws, and as the ratio of means and the mean of ratios:

    ratio of means   (mean_i LD_i(C) - mean_i LD_i(0)) / (mean_i LD_i(M) - mean_i LD_i(0))
    mean of ratios   mean_i (LD_i(C) - LD_i(0)) / (LD_i(M) - LD_i(0))

The ratio of a prompt is huge if the model gains nothing on it over the empty circuit. The median of ratios is not moved
by a few such prompts.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass

import torch

from circuit_tui.core.audit.audited_circuit import AuditedCircuit
from circuit_tui.core.audit.finding import Finding, Measurement, Number, finite, grade
from circuit_tui.core.choices import ABLATIONS, AblationKind
from circuit_tui.core.errors import UserError
from circuit_tui.core.evaluation.metrics import Baselines, PromptMetrics
from circuit_tui.core.splice.other_ablation import under_ablation, with_rows

ABLATION_LIMITS = 0.15, 0.4
"""The most that another ablation moves faithfulness: about a sixth of the behaviour, and two fifths."""
AVERAGING_LIMITS = 0.1, 0.3
"""The distance between ratio of means and mean of ratios."""


@dataclass(frozen=True, slots=True)
class Averages:
    """Faithfulness averaged in three ways."""

    ratio_of_means: float
    mean_of_ratios: float
    median_of_ratios: float


def averages(baselines: Baselines, measured: PromptMetrics) -> Averages:
    """Returns the three averages; a prompt on which M and the empty circuit are equal has no ratio."""
    circuit, plain, empty = (
        part.logit_diff.double() for part in (measured, baselines.plain, baselines.empty)
    )  # fmt: skip
    differ = plain != empty
    ratios = (circuit - empty)[differ] / (plain - empty)[differ]
    if not len(ratios):
        return Averages(float("nan"), float("nan"), float("nan"))
    return Averages(
        baselines.faithfulness(measured.mean_logit_diff), float(ratios.mean()), float(torch.quantile(ratios, 0.5))
    )


def averaging(audited: AuditedCircuit) -> Measurement:
    """Measures ratio of means, mean of ratios and median of ratios on held-out prompts."""
    measured = yield from audited.test.measure(audited.kept)
    found = averages(audited.test.baselines, measured)
    verdict = grade(abs(found.ratio_of_means - found.mean_of_ratios), *AVERAGING_LIMITS)
    return Finding(
        "averaging", verdict,
        f"Faithfulness is {found.ratio_of_means:.3f} as the ratio of means, {found.mean_of_ratios:.3f} as the mean of "
        f"ratios and {found.median_of_ratios:.3f} as their median: {_AVERAGING_MEANING[verdict]}.",
        {
            "ratio_of_means": finite(found.ratio_of_means), "mean_of_ratios": finite(found.mean_of_ratios),
            "median_of_ratios": finite(found.median_of_ratios),
        },
    )  # fmt: skip


def sensitivity(audited: AuditedCircuit) -> Measurement:
    """Measures faithfulness on held-out prompts under each ablation, as ratio of means and as mean of ratios."""
    own = yield from audited.test.faithfulness(audited.kept)
    numbers: dict[str, Number] = {}
    distances, says = [], []
    for index, kind in enumerate(ABLATIONS):
        yield index / len(ABLATIONS)
        try:
            found = yield from averages_under(audited, kind)
        except UserError:  # resample, if no corrupt prompt has the positions of some prompt
            numbers |= {f"{kind}_ratio_of_means": None, f"{kind}_mean_of_ratios": None}
            says.append(f"{kind} has nothing to draw from")
            continue
        mean = sum(one.ratio_of_means for one in found) / len(found)
        numbers[f"{kind}_ratio_of_means"] = finite(mean)
        numbers[f"{kind}_mean_of_ratios"] = finite(sum(one.mean_of_ratios for one in found) / len(found))
        spread = (sum((one.ratio_of_means - mean) ** 2 for one in found) / max(1, len(found) - 1)) ** 0.5
        if kind == "resample":
            numbers["resample_deviation"] = finite(spread)
        says.append(f"{mean:.3f} under {kind}" + (f" (±{spread:.3f})" if kind == "resample" else ""))
        distances.append(abs(mean - own))
    moved = float(torch.tensor(distances).max())  # unlike the built-in, it does not lose a nan
    verdict = grade(moved, *ABLATION_LIMITS)
    return Finding(
        "ablation", verdict,
        f"Faithfulness is {', '.join(says)}: {_ABLATION_MEANING[verdict].format(own=audited.problem.ablation)}.",
        numbers | {"moved": finite(moved)},
    )  # fmt: skip


def averages_under(audited: AuditedCircuit, kind: AblationKind) -> Generator[float | None, None, list[Averages]]:
    """Returns the averages of the circuit on held-out prompts under the ablation `kind`, one for each draw.

    Raises:
        UserError: ``resample`` has nothing to draw from for some prompt.
    """
    other = yield from under_ablation(audited.problem, kind, audited.settings.seed, ("test",))
    found = []
    for draw in range(audited.settings.draws if kind == "resample" else 1):
        if draw:
            other = with_rows(other, audited.settings.seed + draw, ("test",))
        evaluator = yield from audited.test.under(other)
        measured = yield from evaluator.measure(audited.kept)
        found.append(averages(evaluator.baselines, measured))
    return found


_AVERAGING_MEANING = {
    "good": "it does not matter how prompts are averaged",
    "doubtful": "say which average is meant",
    "bad": "a few prompts decide the number",
}
_ABLATION_MEANING = {
    "good": "it does not hang on the ablation",
    "doubtful": "say that the ablation is {own}",
    "bad": "it holds under {own} and not under every other ablation",
}
