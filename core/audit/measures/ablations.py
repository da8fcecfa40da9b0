"""Does it matter what an ablated node becomes, and how prompts are averaged?

Both move faithfulness (Miller et al. 2024), so the circuit is evaluated under every ablation, resample with several
draws, and as the ratio of means (the mean LD over prompts first) and the mean of ratios (of every prompt its own):

    ratio of means   (mean_i LD_i(C) - mean_i LD_i(0)) / (mean_i LD_i(M) - mean_i LD_i(0))
    mean of ratios   mean_i (LD_i(C) - LD_i(0)) / (LD_i(M) - LD_i(0))

A prompt on which the model gains nothing over the empty circuit makes its own ratio huge; the median of ratios, beside
it, is not moved by a few of those.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass, replace

import torch

from circuit_tui.core.audit.audited_circuit import AuditedCircuit
from circuit_tui.core.audit.finding import Finding, Measuring, Number, finite, grade
from circuit_tui.core.choices import ABLATIONS, AblationKind
from circuit_tui.core.errors import UserError
from circuit_tui.core.evaluation.evaluator import Evaluator
from circuit_tui.core.evaluation.metrics import Baselines, PromptMetrics
from circuit_tui.core.splice.ablation import GroupMeans, ReferenceTable
from circuit_tui.core.splice.problem import Problem, reference_rows_of
from circuit_tui.core.splice.reference_passes import chunks

MOVED = 0.15, 0.4
"""The furthest that another ablation moves faithfulness: a sixth of the behaviour; then two fifths."""
AVERAGED = 0.1, 0.3
"""Ratio of means against mean of ratios."""
ROWS_AT_ONCE = 64


@dataclass(frozen=True, slots=True)
class Averages:
    """Faithfulness averaged in three ways."""

    ratio_of_means: float
    mean_of_ratios: float
    median_of_ratios: float


def averages(baselines: Baselines, measured: PromptMetrics) -> Averages:
    """See the module's docstring; prompts on which M and the empty circuit do not differ at all have no ratio."""
    circuit, plain, empty = (
        part.logit_diff.double() for part in (measured, baselines.plain, baselines.empty)
    )  # fmt: skip
    has = plain != empty
    ratios = (circuit - empty)[has] / (plain - empty)[has]
    if not len(ratios):
        return Averages(float("nan"), float("nan"), float("nan"))
    whole = baselines.faithfulness(measured.mean_logit_diff)
    return Averages(whole, float(ratios.mean()), float(torch.quantile(ratios, 0.5)))


def averaging(subject: AuditedCircuit) -> Measuring:
    """Ratio of means, mean of ratios and median of ratios on held-out prompts."""
    measured = yield from subject.test.measure(subject.kept)
    found = averages(subject.test.baselines, measured)
    verdict = grade(abs(found.ratio_of_means - found.mean_of_ratios), *AVERAGED)
    return Finding(
        "averaging", verdict,
        f"Faithfulness is {found.ratio_of_means:.3f} as the ratio of means, {found.mean_of_ratios:.3f} as the mean of "
        f"ratios and {found.median_of_ratios:.3f} as their median: {_AVERAGED[verdict]}.",
        {
            "ratio_of_means": finite(found.ratio_of_means), "mean_of_ratios": finite(found.mean_of_ratios),
            "median_of_ratios": finite(found.median_of_ratios),
        },
    )  # fmt: skip


def sensitivity(subject: AuditedCircuit) -> Measuring:
    """Faithfulness on held-out prompts under each ablation, as the ratio of means and as the mean of ratios."""
    own = yield from subject.test.faithfulness(subject.kept)
    numbers: dict[str, Number] = {}
    distances, says = [], []
    for index, kind in enumerate(ABLATIONS):
        yield index / len(ABLATIONS)
        try:
            found = yield from under(subject, kind)
        except UserError:  # resample, where no corrupt prompt has a prompt's positions
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
    verdict = grade(moved, *MOVED)
    return Finding(
        "ablation", verdict,
        f"Faithfulness is {', '.join(says)}: {_MOVED[verdict].format(own=subject.problem.ablation)}.",
        numbers | {"moved": finite(moved)},
    )  # fmt: skip


def under(subject: AuditedCircuit, kind: AblationKind) -> Generator[float | None, None, list[Averages]]:
    """Averages of the circuit on held-out prompts under `kind`, one for each draw.

    Raises:
        UserError: ``resample`` has nothing to draw from for some prompt.
    """
    problem = subject.problem
    tables, answers = (yield from references(problem, kind)), problem.splits["test"].answers
    found = []
    for draw in range(subject.settings.draws if kind == "resample" else 1):
        rows, by_group = reference_rows_of(
            problem.alignment, "test", kind, answers, subject.settings.seed + draw, problem.task.name
        )
        test = replace(problem.splits["test"], reference_rows=rows, reference_row_of_group=by_group)
        other = replace(problem, ablation=kind, reference_tables=tables, splits=problem.splits | {"test": test})
        evaluator = Evaluator(other, "test", ready=False)
        yield from evaluator.prepare()
        measured = yield from evaluator.measure(subject.kept)
        found.append(averages(evaluator.baselines, measured))
    return found


def references(problem: Problem, kind: AblationKind) -> Generator[float | None, None, tuple[ReferenceTable, ...]]:
    """The reference tables of `problem` under another ablation; SAE errors stay as they are."""
    side = "clean" if kind == "clean-mean" else "corrupt"
    reads = problem.spliced_sae_inputs if side == "clean" else problem.spliced_corrupt_sae_inputs
    lengths = getattr(problem.prompt_sets["train"], side).lengths
    cells, device, tables = problem.alignment.mean_groups["train", side], problem.model.device, []
    for site, read in zip(problem.sites, reads, strict=True):
        d_sae = site.sae.d_sae
        means = GroupMeans(problem.alignment.n_mean_groups, d_sae, device)
        every = torch.zeros(*cells.shape if kind == "resample" else (0, 0), d_sae, device=device)
        for rows in chunks(lengths, ROWS_AT_ONCE) if kind != "zero" else []:
            with torch.no_grad():
                activations = site.sae.encode(read[rows])
            if kind == "resample":
                every[rows] = activations
            else:
                means.add(cells[rows], activations)
            yield None
        values = every.flatten(0, 1) if kind == "resample" else means.mean()
        if kind == "zero":
            values = torch.zeros(1, d_sae, device=device)
        with torch.no_grad():
            tables.append(ReferenceTable(values, site.sae.decode(values)))
    return tuple(tables)


_AVERAGED = {
    "good": "it does not matter how prompts are averaged",
    "doubtful": "say which average is meant",
    "bad": "a few prompts decide the number",
}
_MOVED = {
    "good": "it does not hang on the ablation",
    "doubtful": "say that the ablation is {own}",
    "bad": "it holds under {own} and not under every other ablation",
}
