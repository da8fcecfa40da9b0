"""Compares our pass with Hugging Face's own: residual streams block by block, and logits.

Compared are prompts alone and in a padded batch, on the side and at the size that evaluations use.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor

from circuit_tui.core.errors import UserError, first_line
from circuit_tui.core.models.block_runner import BlockRunner
from circuit_tui.core.models.hf_reference import ReferencePass
from circuit_tui.core.models.language_model import LanguageModel
from circuit_tui.core.models.left_padding import runner_for
from circuit_tui.core.runtime.out_of_memory import is_out_of_memory


@torch.no_grad()
def check_pass(model: LanguageModel, passes: Sequence[ReferencePass], batch_size: int) -> None:
    """Refuses a model whose residual streams or logits depart from `passes` by more than rounding.

    Each prompt runs alone. With a `batch_size` of 2 or more they also run together, in so many rows.

    Raises:
        UserError: they depart; the line says where first, and in what kind of batch. Or the blocks cannot be replayed.
    """
    with replayable(model):
        for reference in passes:
            _compare(model, [reference], "")
        if batch_size > 1 and passes:
            rows = [passes[index % len(passes)] for index in range(max(batch_size, len(passes)))]
            lengths = sorted({len(reference.tokens) for reference in passes})
            words = f"{lengths[0]} and {lengths[-1]}" if len(lengths) > 1 else f"{lengths[0]}"
            helps = "--padding right" if model.padding_side == "left" else "--batch 1 runs each alone"
            side = " padded on the left" if model.padding_side == "left" else ""
            _compare(model, rows, f" with prompts of {words} tokens in one batch{side} ({helps})")


@contextmanager
def replayable(model: LanguageModel) -> Iterator[None]:
    """Turns an error of a replay in this block, other than about memory, into one line.

    Raises:
        UserError: the blocks of `model` cannot be replayed.
    """
    try:
        yield
    except (RuntimeError, TypeError, IndexError) as error:
        if is_out_of_memory(error):
            raise
        raise UserError(
            f"--model {model.name}: this architecture is not supported: its blocks cannot be replayed: "
            f"{first_line(error)}"
        ) from error


def _compare(model: LanguageModel, references: Sequence[ReferencePass], where: str) -> None:
    """Runs `references` as the rows of one batch."""
    lengths = torch.tensor([len(reference.tokens) for reference in references], device=model.device)
    tokens = torch.zeros(len(references), int(lengths.max()), dtype=torch.long, device=model.device)
    for row, reference in enumerate(references):
        tokens[row, : len(reference.tokens)] = reference.tokens.to(model.device)
    runner = runner_for(model, lengths)
    # The logits go on from the last block's input, as a search's do: with the fast path of the last MLP.
    layer, resid = _compare_streams(model, runner, runner.embed(tokens), references, where)
    logits = runner.logits_from(resid, layer, lengths - 1).cpu()
    expected = torch.stack([reference.logits for reference in references])
    if "center_unembed" in model.processing:
        logits, expected = logits - logits.mean(-1, keepdim=True), expected - expected.mean(-1, keepdim=True)
    _check(model, logits, expected, f"in the logits{where}")


def _compare_streams(
    model: LanguageModel, runner: BlockRunner, resid: Tensor, references: Sequence[ReferencePass], where: str
) -> tuple[int, Tensor]:
    """Compares the residual stream after each block, in the first row of each reference.

    Returns the number of the last block and the residual that enters it; where no stream was recorded, those of the
    first block.
    """
    first = {id(reference): row for row, reference in reversed(list(enumerate(references)))}
    known = [(row, references[row]) for row in first.values() if references[row].residuals.shape[0]]
    if not known:
        return 0, resid
    for layer in range(model.n_layers + 1):
        for row, reference in known:
            ours, expected = resid[row, : len(reference.tokens)].float().cpu(), reference.residuals[layer]
            if "center_writing_weights" in model.processing:
                expected = expected - expected.mean(-1, keepdim=True)
            _check(model, ours, expected, f"{'at the embedding' if layer == 0 else f'after block {layer - 1}'}{where}")
        if layer == model.n_layers:
            break
        last_input = resid
        resid = runner.run_blocks(resid, layer, layer + 1)
    return model.n_layers - 1, last_input


def _check(model: LanguageModel, ours: Tensor, expected: Tensor, where: str) -> None:
    difference = float((ours - expected).abs().max())
    if not difference <= model.tolerance(expected):
        raise UserError(
            f"--model {model.name}: this program's pass departs from Hugging Face's own {where}, by {difference:.2g}; "
            "nothing can be searched on it"
        )
