"""The task of a request: where it comes from, and its prompts as tokens of one model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from circuit_tui.core.circuits.schema import TaskSource
from circuit_tui.core.errors import UserError
from circuit_tui.core.models.presets import default_task, preset_of
from circuit_tui.core.opening.request import OpenRequest
from circuit_tui.core.saes.site import Site
from circuit_tui.core.tasks import builtin as tasks
from circuit_tui.core.tasks.prompts_file import load_prompts
from circuit_tui.core.tasks.select_pairs import select_pairs
from circuit_tui.core.tasks.task import Split, Task
from circuit_tui.core.tasks.tokens import PromptSet, tokenize


@dataclass(frozen=True, slots=True)
class TokenizedTask:
    """A task for one tokenizer, and where it comes from; `bos` says whether prompts begin with BOS."""

    task: Task
    source: TaskSource
    bos: bool
    notes: tuple[str, ...]
    prompt_sets: dict[Split, PromptSet]


def task_of(request: OpenRequest) -> tuple[Task, TaskSource]:
    """Returns the task of `request`, and where it comes from. Raises UserError if it names no task, or two."""
    if request.task is not None and request.prompts is not None:
        raise UserError("--task and --prompts: give one of the two")
    if request.prompts is not None:
        return load_prompts(request.prompts), TaskSource(kind="file", path=str(request.prompts))
    if request.model is not None and request.task is None and preset_of(request.model) is None:
        raise UserError("--model: name a task for it with --task NAME or --prompts FILE.jsonl")
    name = request.task or default_task(request.model)
    task = tasks.builtin(name)
    if request.model is None and name not in tasks.DEMO_TASKS:
        raise UserError(f"--task {name}: the bundled model knows no English; name a model, as --model smollm2-135m")
    return task, TaskSource(kind="builtin", name=name)


def tokenize_task(
    request: OpenRequest, chosen: tuple[Task, TaskSource], tokenizer: Any, sites: Sequence[Site], device: torch.device
) -> TokenizedTask:
    """Returns the task `chosen` (`task_of`) for one tokenizer; a built-in task has the pairs that it can express.

    Without `sites`, which a plan of memory does not load, prompts begin with BOS unless the request says otherwise.
    """
    task, source = chosen
    notes: tuple[str, ...] = ()
    if source.kind == "builtin" and request.model is not None:  # the bundled model can ask all of every task
        task, notes = select_pairs(task, tokenizer, request.chat)
    bos = _begins_with_bos(tokenizer, sites) if request.bos is None else request.bos
    if not bos and request.bos is None and not request.chat:
        notes = (*notes, "No BOS stands in front of the prompts: tokenizer and SAEs say so (--bos puts it there).")
    return TokenizedTask(task, source, bos, notes, tokenize(task, tokenizer, device, request.chat, bos))


def _begins_with_bos(tokenizer: Any, sites: Sequence[Site]) -> bool:
    """Returns whether prompts begin with BOS: not if the tokenizer adds none and no SAE was trained with one."""
    said = getattr(tokenizer, "add_bos_token", None)
    return said is not False or not sites or any(site.sae.prepend_bos for site in sites)
