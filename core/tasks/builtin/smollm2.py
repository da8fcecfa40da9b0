"""Five tasks in English for SmolLM2-135M: the prompts files in ``examples/smollm2/tasks``."""

from __future__ import annotations

from dataclasses import replace

from circuit_tui.core.example_files import example_dir
from circuit_tui.core.tasks.task import Task

NAMES = ("sva", "pronoun", "capital", "opposite", "ioi")
_DESCRIPTIONS = {
    "sva": "the verb agrees with the subject across a phrase: The keys near the cabinet → are",
    "pronoun": "the pronoun goes with the name: So Amy is a really good doctor, isn't → she",
    "capital": "the capital of a country: The capital of Japan is → Tokyo",
    "opposite": "the opposite of a word: The opposite of hot is → cold",
    "ioi": "the indirect object: When Mary and John went to the store, John gave a drink to → Mary",
}


def load(name: str) -> Task:
    """Returns the task `name`, one of `NAMES`, under its full name ``smollm2-NAME``."""
    from circuit_tui.core.tasks.prompts_file import load_prompts  # pydantic comes with it

    task = load_prompts(example_dir("smollm2") / "tasks" / f"{name}.jsonl")
    return replace(task, name=f"smollm2-{name}", description=_DESCRIPTIONS[name])
