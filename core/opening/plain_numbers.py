"""How well a model itself does a task: accuracy and logit difference of M, without any SAE."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from circuit_tui.core.models.compat.import_libraries import import_libraries
from circuit_tui.core.models.devices import pick_device, pick_dtype
from circuit_tui.core.models.language_model import LanguageModel
from circuit_tui.core.models.load_model import load_model, load_tokenizer
from circuit_tui.core.models.model_files import model_folder
from circuit_tui.core.splice.reference_passes import plain_pass
from circuit_tui.core.tasks.task import Pair
from circuit_tui.core.tasks.tokens import tokenize_pairs
from circuit_tui.core.views import LoadProgress

BATCH = 64
"""Rows of tokens in one pass."""


@dataclass(frozen=True, slots=True)
class PlainNumbers:
    """The accuracy and logit difference of M on some prompts.

    Attributes:
        n_prompts: how many there are.
        accuracy: the share on which the right answer is likelier than the wrong one.
        likeliest: the share on which the right answer's first token is the likeliest of all tokens.
        logit_difference: mean of log P(right) - log P(wrong).
    """

    n_prompts: int
    accuracy: float
    likeliest: float
    logit_difference: float

    @classmethod
    def together(cls, parts: Sequence[PlainNumbers]) -> PlainNumbers:
        """Returns the numbers on the prompts of all `parts`, of which there is at least one."""
        n = sum(part.n_prompts for part in parts)

        def mean(value: Callable[[PlainNumbers], float]) -> float:
            return sum(part.n_prompts * value(part) for part in parts) / n

        return cls(
            n,
            mean(lambda part: part.accuracy),
            mean(lambda part: part.likeliest),
            mean(lambda part: part.logit_difference),
        )


def open_plain_model(
    name: str,
    progress: Callable[[LoadProgress], None] = lambda stage: None,
    device: str | None = None,
    dtype: str | None = None,
) -> LanguageModel:
    """Opens the model that ``--model`` names, without SAEs.

    Raises:
        UserError: it cannot be found or loaded, or there is no such device.
    """
    import_libraries()
    stage = LoadProgress(f"loading model {name}", 0, 1)
    progress(stage)
    full, folder = model_folder(name, None, progress, stage)
    progress(stage)
    tokenizer = load_tokenizer(full, folder)
    return load_model(full, pick_device(device), pick_dtype(dtype), folder=folder, tokenizer=tokenizer)


def plain_numbers(model: LanguageModel, task: str, pairs: Sequence[Pair]) -> PlainNumbers:
    """Returns the numbers of `model` on `pairs` of the task named `task`; prompts begin with BOS where there is one."""
    prompts = tokenize_pairs(task, pairs, model.tokenizer, model.device)
    answers = prompts.answers
    logits = plain_pass(model, (), prompts.clean, answers, errors=False, size=BATCH).logits
    difference = answers.logit_difference(logits).double()
    first = logits[: len(answers)].argmax(-1)
    return PlainNumbers(
        len(pairs),
        float((difference > 0).double().mean()),
        float((first == answers.right).double().mean()),
        float(difference.mean()),
    )
