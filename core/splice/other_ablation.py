"""The same problem under another ablation: other references for the same nodes, everything else as it is."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import torch

from circuit_tui.core.choices import AblationKind
from circuit_tui.core.runtime.incremental import Increments, incremental
from circuit_tui.core.splice.ablation import GroupMeans, ReferenceTable
from circuit_tui.core.splice.problem import Problem, reference_rows_of
from circuit_tui.core.splice.reference_passes import chunks
from circuit_tui.core.splice.resample import ResampleDraws
from circuit_tui.core.tasks.task import Split

ROWS_PER_BATCH = 64


@incremental
def under_ablation(problem: Problem, kind: AblationKind, seed: int, splits: Iterable[Split]) -> Increments[Problem]:
    """Returns `problem` with references of the ablation `kind` on `splits`; the other splits keep theirs.

    SAE errors stay as they are. `seed` is of the draw of ``resample``.

    Raises:
        UserError: ``resample`` has nothing to draw from for some prompt.
    """
    tables = yield from reference_tables(problem, kind)
    return with_rows(replace(problem, ablation=kind, reference_tables=tables), seed, splits)


def with_rows(problem: Problem, seed: int, splits: Iterable[Split]) -> Problem:
    """Returns `problem` with the references of its tokens of `splits` chosen anew; ``resample`` draws them by `seed`.

    Raises:
        UserError: ``resample`` has nothing to draw from for some prompt.
    """
    changed = dict(problem.splits)
    for split in splits:
        answers, places = problem.splits[split].answers, _places(problem, split)
        rows, by_group = reference_rows_of(problem.alignment, split, problem.ablation, answers, seed, places)
        changed[split] = replace(changed[split], reference_rows=rows, reference_row_of_group=by_group)
    return replace(problem, splits=changed)


def resample_draws(problem: Problem, split: Split) -> ResampleDraws:
    """Returns what the tokens of `split` can take under ``resample``.

    Raises:
        UserError: there is nothing to draw from for some prompt.
    """
    return ResampleDraws(problem.alignment, split, problem.splits[split].answers, _places(problem, split))


@incremental
def reference_tables(problem: Problem, kind: AblationKind) -> Increments[tuple[ReferenceTable, ...]]:
    """Returns the reference tables of `problem` under the ablation `kind`; SAE errors stay as they are."""
    side = "clean" if kind == "clean-mean" else "corrupt"
    all_inputs = problem.spliced_sae_inputs if side == "clean" else problem.spliced_corrupt_sae_inputs
    lengths = getattr(problem.prompt_sets["train"], side).lengths
    groups, device, tables = problem.alignment.mean_groups["train", side], problem.model.device, []
    for site, inputs in zip(problem.sites, all_inputs, strict=True):
        d_sae = site.sae.d_sae
        means = GroupMeans(problem.alignment.n_mean_groups, d_sae, device)
        drawn_from = torch.zeros(*groups.shape if kind == "resample" else (0, 0), d_sae, device=device)
        for rows in chunks(lengths, ROWS_PER_BATCH) if kind != "zero" else []:
            with torch.no_grad():
                activations = site.sae.encode(inputs[rows])
            if kind == "resample":
                drawn_from[rows] = activations
            else:
                means.add(groups[rows], activations)
            yield
        values = drawn_from.flatten(0, 1) if kind == "resample" else means.mean()
        if kind == "zero":
            values = torch.zeros(1, d_sae, device=device)
        with torch.no_grad():
            tables.append(ReferenceTable(values, site.sae.decode(values)))
    return tuple(tables)


def _places(problem: Problem, split: Split) -> list[str]:
    """Where each prompt of `split` is from."""
    return [pair.place(problem.task.name) for pair in problem.prompt_sets[split].pairs]
