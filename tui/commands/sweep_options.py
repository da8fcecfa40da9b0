"""The flags of `sweep` that take several values, and how they are read."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated

import typer

from circuit_tui.core.errors import UserError
from circuit_tui.core.search import registry

Tasks = Annotated[
    list[str] | None, typer.Option("--tasks", "--task", metavar="A,B|all", help="Built-in tasks, or all of them.")
]
PromptFiles = Annotated[list[Path] | None, typer.Option(metavar="FILE.jsonl", help="Prompts of your own; repeat.")]
Methods = Annotated[
    list[str] | None,
    typer.Option("--methods", "--method", metavar="A,B|all", help=f"{', '.join(registry.METHODS)}, or all of them."),
]
Targets = Annotated[str, typer.Option("--targets", "--target", metavar="X,…", help="Faithfulness to reach.")]
Seeds = Annotated[str, typer.Option(metavar="N|A-B|A,B,…", help="How many seeds, or which.")]
Sites = Annotated[
    list[str] | None,
    typer.Option(metavar="all,A+B", help="Sets of sites: hooks or short names such as L1, joined by +. [all]"),
]
Settings = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="[METHOD.]NAME=V,W", help="A setting of one method, or of each that has it; repeat."),
]
ResultsOut = Annotated[Path, typer.Option(metavar="FILE.sqlite", help="The results; runs in it are not repeated.")]
Jobs = Annotated[int | None, typer.Option(min=1, metavar="N", help="Workers. [1; on Ray one per GPU or machine]")]
Ray = Annotated[str | None, typer.Option(metavar="ADDRESS|local", help="Run on a Ray cluster.")]


def words(flag: str, given: Sequence[str] | None, known: Sequence[str]) -> tuple[str, ...]:
    """The words of a flag that takes lists; ``all`` stands for all of `known`.

    Raises:
        UserError: a word is empty.
    """
    found: list[str] = []
    for word in _parts(flag, given):
        found += known if word == "all" else [word]
    return tuple(dict.fromkeys(found))


def sites(given: Sequence[str] | None) -> tuple[tuple[str, ...], ...]:
    """The sets of sites; an empty set stands for all sites. Raises UserError for an empty name."""
    found: list[tuple[str, ...]] = []
    for text in _parts("--sites", given):
        names = tuple(name.strip() for name in text.split("+"))
        if not all(names):
            raise UserError(f"--sites {text}: write hooks or short names, joined by +")
        found.append(() if text == "all" else names)
    return tuple(dict.fromkeys(found)) or ((),)


def settings(given: Sequence[str] | None) -> dict[str, tuple[str, ...]]:
    """The values of each setting. Raises UserError for a text that is not ``[METHOD.]NAME=VALUE[,VALUE…]``."""
    found: dict[str, tuple[str, ...]] = {}
    for text in given or ():
        name, equals, values = text.partition("=")
        each = tuple(value.strip() for value in values.split(","))
        if not (name and equals and all(each)):
            raise UserError(f"--set {text}: write [METHOD.]NAME=VALUE[,VALUE…]")
        found[name] = each
    return found


def _parts(flag: str, given: Sequence[str] | None) -> Iterator[str]:
    for text in given or ():
        for part in text.split(","):
            if not part.strip():
                raise UserError(f"{flag} {text}: a name is missing between the commas")
            yield part.strip()
