"""Does the circuit predict what the model predicts, or only put one of two answers above the other?

A high logit-difference faithfulness can hide a ruined distribution: a published circuit of 19 nodes has a
cross-entropy of 5.5. Beside KL and cross-entropy stand those of M_s and of the empty circuit.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence

import torch

from circuit_tui.core.audit.audited_circuit import AuditedCircuit
from circuit_tui.core.audit.finding import Finding, Measuring, finite, grade, worst
from circuit_tui.core.evaluation.evaluator import Evaluator, pack_circuit
from circuit_tui.core.splice.batch import Batch
from circuit_tui.core.splice.splice import FullSplice, Splice, run_spliced

KL = 0.1, 1.0
"""Nats from the model's prediction to the circuit's: a tenth is hard to see; with one, the two are different."""
KL_LEFT = 0.1, 0.5
"""The same as a share of the empty circuit's: with half of it left, half of the prediction is not explained."""
OTHER_TOP = 0.1, 0.3
"""Share of prompts on which another token is the likeliest."""
TIED = 0.01
"""With less KL no probability moves by more than 0.07 (Pinsker): another likeliest token was nearly tied."""


def distribution(subject: AuditedCircuit) -> Measuring:
    """KL, cross-entropy of the right answer and agreement on the likeliest token, on held-out prompts."""
    evaluator, packs = subject.test, pack_circuit(subject.problem, subject.kept)
    baselines = evaluator.baselines
    measured = yield from evaluator.measure(subject.kept)
    circuit, plain = baselines.summarise(measured), baselines.summarise(baselines.plain)
    spliced, empty = baselines.summarise(baselines.spliced), baselines.summarise(baselines.empty)
    top = yield from top_agreement(evaluator, lambda batch: evaluator.circuit_splices(batch, packs))
    top_spliced = yield from top_agreement(
        evaluator,
        lambda batch: [FullSplice(site, batch, batch.errors[i]) for i, site in enumerate(subject.problem.sites)],
    )
    left = circuit.kl / empty.kl if empty.kl > 0 else float("nan")
    verdict = worst(
        grade(circuit.kl, *KL),
        grade(left, *KL_LEFT),
        "good" if circuit.kl <= TIED else grade(1 - top, *OTHER_TOP),
    )
    return Finding(
        "distribution", verdict,
        f"KL to the model is {circuit.kl:.3g} nats (spliced {spliced.kl:.3g}, empty {empty.kl:.3g}), cross-entropy "
        f"{circuit.cross_entropy:.2f} (model {plain.cross_entropy:.2f}), the likeliest token the same on {top:.0%} of "
        f"the prompts: {_SAYS[verdict]}.",
        {
            "kl": finite(circuit.kl), "kl_spliced": finite(spliced.kl), "kl_empty": finite(empty.kl),
            "kl_left": finite(left),
            "cross_entropy": finite(circuit.cross_entropy), "cross_entropy_plain": finite(plain.cross_entropy),
            "top_agreement": top, "top_agreement_spliced": top_spliced,
        },
    )  # fmt: skip


def top_agreement(
    evaluator: Evaluator, splices: Callable[[Batch], Sequence[Splice]]
) -> Generator[float | None, None, float]:
    """The share of prompts whose likeliest next token under `splices` is that of M, all along the right answer."""
    problem, same = evaluator.problem, 0
    for batch in evaluator.batches:
        plain = problem.splits[evaluator.split].plain_logits[batch.reads]
        with torch.no_grad():
            logits = run_spliced(problem.model, problem.sites, batch, splices(batch)).result()
        other = logits.argmax(-1) != plain.argmax(-1)
        same += int((batch.answers.sum_over_right(other.float()) == 0).sum())
        yield None
    return same / len(evaluator)


_SAYS = {
    "good": "it predicts what the model predicts",
    "doubtful": "it tells the two answers apart, the rest of the prediction is its own",
    "bad": "it explains the difference of the two answers, not the model's prediction",
}
