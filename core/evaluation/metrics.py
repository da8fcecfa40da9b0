"""The metrics of a run, prompt by prompt and on average.

    logit difference  LD = log P(right) - log P(wrong), of single tokens logit(right) - logit(wrong)
    faithfulness      (m(C) - m(0)) / (m(M) - m(0)),  m the mean LD over prompts, 0 the empty circuit
    completeness      (m(M without C) - m(0)) / (m(M) - m(0))
    KL                KL(M || C) of the next-token distributions, summed over the tokens of the right answer, nats
    cross-entropy     -log P(right), nats
    accuracy          share of prompts with LD > 0

An answer of several tokens counts as a whole. P is the product over its tokens (`answers.py`), and the model is right
if the whole right answer is likelier than the whole wrong one. Faithfulness and completeness are those of Marks et al.
2024. Both are ratios of means, not means of ratios; Miller et al. 2024 show that these differ. `per_prompt_iqr` shows
what a mean hides: errors of single prompts that cancel.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from circuit_tui.core.tasks.answers import Answers
from circuit_tui.core.views import Metrics

LARGEST_PART = 1 << 23
"""How many log-probabilities are held at once: five copies of those of 520 prompts and 49,152 tokens are 0.5 GB."""


@dataclass(frozen=True, slots=True)
class PromptMetrics:
    """Per-prompt measurements, each `[prompt]` float32 on the CPU, in the order of the split."""

    logit_diff: Tensor
    kl: Tensor
    cross_entropy: Tensor

    @classmethod
    def empty(cls, n: int) -> PromptMetrics:
        """Returns zeros for `n` prompts, to be filled."""
        return cls(torch.zeros(n), torch.zeros(n), torch.zeros(n))

    def on(self, prompts: Tensor) -> PromptMetrics:
        """Returns the measurements of the prompts with indices `prompts` `[prompt]`."""
        return PromptMetrics(self.logit_diff[prompts], self.kl[prompts], self.cross_entropy[prompts])

    def fill(self, prompts: Tensor, logits: Tensor, plain: Tensor, answers: Answers) -> None:
        """Measures `logits` `[read, vocab]` against M's `plain` and stores them at indices `prompts`, on the CPU."""
        size, parts = max(1, LARGEST_PART // logits.shape[1]), list[tuple[Tensor, Tensor]]()
        for start in range(0, len(logits), size):
            part = slice(start, start + size)
            log_probs, plain_log_probs = logits[part].log_softmax(-1), plain[part].log_softmax(-1)
            parts.append(
                (
                    (plain_log_probs.exp() * (plain_log_probs - log_probs)).sum(-1),
                    log_probs.gather(1, answers.scored_tokens()[part].unsqueeze(1))[:, 0],
                )
            )
        kl, token_log_probs = (torch.cat(part) for part in zip(*parts, strict=True))
        of_prompts = (
            answers.logit_difference(logits), answers.sum_over_right(kl), -answers.sum_over_right(token_log_probs)
        )  # fmt: skip
        # One copy: each waits for all that the device has still to do.
        self.logit_diff[prompts], self.kl[prompts], self.cross_entropy[prompts] = torch.stack(of_prompts).cpu()

    @property
    def mean_logit_diff(self) -> float:
        """The mean logit difference over prompts."""
        return float(self.logit_diff.double().mean())


@dataclass(frozen=True, slots=True)
class Baselines:
    """The three runs to which ratios refer, on one split: M, M_s and the empty circuit."""

    plain: PromptMetrics
    spliced: PromptMetrics
    empty: PromptMetrics

    @property
    def gap(self) -> float:
        """m(M) - m(empty), the logit difference that there is to explain."""
        return self.plain.mean_logit_diff - self.empty.mean_logit_diff

    @property
    def gap_spliced(self) -> float:
        """m(M_s) - m(empty): the logit difference that the SAEs leave to explain."""
        return self.spliced.mean_logit_diff - self.empty.mean_logit_diff

    def faithfulness(self, mean_logit_diff: float) -> float:
        """Returns the faithfulness against M of a run with this mean logit difference.

        For a run of M without a circuit it is the circuit's completeness.
        """
        return _ratio(mean_logit_diff, self.empty, self.plain)

    def faithfulness_spliced(self, mean_logit_diff: float) -> float:
        """Returns the faithfulness against M_s of a run with this mean logit difference."""
        return _ratio(mean_logit_diff, self.empty, self.spliced)

    def summarise(self, measured: PromptMetrics) -> Metrics:
        """Returns the averages of one run, without completeness."""
        mean = measured.mean_logit_diff
        error = (measured.logit_diff - self.plain.logit_diff).double()
        low, high = torch.quantile(error, torch.tensor([0.25, 0.75], dtype=torch.float64)).tolist()
        return Metrics(
            faithfulness=self.faithfulness(mean),
            faithfulness_spliced=self.faithfulness_spliced(mean),
            logit_diff=mean,
            kl=float(measured.kl.double().mean()),
            accuracy=float((measured.logit_diff > 0).double().mean()),
            cross_entropy=float(measured.cross_entropy.double().mean()),
            per_prompt_iqr=(low, high),
        )

    def with_completeness(self, metrics: Metrics, removed: PromptMetrics) -> Metrics:
        """Returns `metrics` with the completeness of the circuit; `removed` is the run of M without it."""
        return replace(metrics, completeness=self.faithfulness(removed.mean_logit_diff))


def _ratio(mean: float, empty: PromptMetrics, whole: PromptMetrics) -> float:
    gap = whole.mean_logit_diff - empty.mean_logit_diff
    # Without a gap there is no behaviour to explain: a search refuses to start, and everything else shows NaN.
    return (mean - empty.mean_logit_diff) / gap if abs(gap) > 1e-6 else float("nan")
