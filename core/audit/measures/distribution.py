"""Does the circuit predict what the model predicts, or only put one of two answers above the other?

A high logit-difference faithfulness can hide a ruined distribution: a published circuit of 19 nodes has a
cross-entropy of 5.5. The finding gives KL for M_s and the empty circuit too, and cross-entropy for M.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence

import torch

from circuit_tui.core.audit.audited_circuit import AuditedCircuit
from circuit_tui.core.audit.finding import Finding, Measurement, finite, grade, worst_verdict
from circuit_tui.core.audit.limits import KL_LIMITS, KL_SHARE_LIMITS
from circuit_tui.core.evaluation.evaluator import Evaluator, pack_circuit
from circuit_tui.core.splice.batch import Batch
from circuit_tui.core.splice.splice import FullSplice, Splice, run_spliced

OTHER_TOKEN_LIMITS = 0.1, 0.3
"""Share of prompts on which another token is the likeliest."""
NEGLIGIBLE_KL = 0.01
"""Up to this KL no probability moves by more than 0.07 (Pinsker), so another likeliest token was nearly tied."""


def distribution(audited: AuditedCircuit) -> Measurement:
    """Measures KL, cross-entropy of the right answer and agreement on the likeliest token, on held-out prompts."""
    evaluator, packs = audited.test, pack_circuit(audited.problem, audited.kept)
    baselines = evaluator.baselines
    measured = yield from evaluator.measure(audited.kept)
    circuit, plain = baselines.summarise(measured), baselines.summarise(baselines.plain)
    spliced, empty = baselines.summarise(baselines.spliced), baselines.summarise(baselines.empty)
    top = yield from top_agreement(evaluator, lambda batch: evaluator.circuit_splices(batch, packs))
    top_spliced = yield from top_agreement(
        evaluator,
        lambda batch: [FullSplice(site, batch, batch.errors[i]) for i, site in enumerate(audited.problem.sites)],
    )
    left = circuit.kl / empty.kl if empty.kl > 0 else float("nan")
    verdict = worst_verdict(
        grade(circuit.kl, *KL_LIMITS),
        grade(left, *KL_SHARE_LIMITS),
        "good" if circuit.kl <= NEGLIGIBLE_KL else grade(1 - top, *OTHER_TOKEN_LIMITS),
    )
    return Finding(
        "distribution", verdict,
        f"KL to the model is {circuit.kl:.3g} nats (spliced {spliced.kl:.3g}, empty {empty.kl:.3g}), cross-entropy "
        f"{circuit.cross_entropy:.2f} (model {plain.cross_entropy:.2f}), the likeliest token the same on {top:.0%} of "
        f"the prompts: {_MEANING[verdict]}.",
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
    """Returns the share of prompts on which M and the model under `splices` have the same likeliest next token.

    If the right answer has several tokens, they must agree at each of them.
    """
    problem, n_agreeing = evaluator.problem, 0
    for batch in evaluator.batches:
        plain = problem.splits[evaluator.split].plain_logits[batch.reads]
        with torch.no_grad():
            logits = run_spliced(problem.model, problem.sites, batch, splices(batch)).result()
        differs = logits.argmax(-1) != plain.argmax(-1)
        n_agreeing += int((batch.answers.sum_over_right(differs.float()) == 0).sum())
        yield None
    return n_agreeing / len(evaluator)


_MEANING = {
    "good": "it predicts what the model predicts",
    "doubtful": "it tells the two answers apart, the rest of the prediction is its own",
    "bad": "it explains the difference of the two answers, not the model's prediction",
}
