"""The flags that commands share, and how they are checked. Flags that say what to open are in `opening.py`."""

from __future__ import annotations

import contextlib
import difflib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated

import typer

from circuit_tui.core.choices import OBJECTIVES, AblationKind
from circuit_tui.core.errors import UserError
from circuit_tui.core.search import registry
from circuit_tui.core.search.asked import ROBUST_ABLATIONS, parse_ablations
from circuit_tui.tui.commands import progress

Target = Annotated[float, typer.Option(metavar="X", help="Faithfulness to reach on the search prompts.")]
Targets = Annotated[
    list[str] | None,
    typer.Option(
        "--target", metavar="X|NAME=X", help="Faithfulness to reach on the search prompts, or an objective's."
    ),
]
Objectives = Annotated[
    str | None,
    typer.Option(
        "--objective", metavar="NAME,…", help=f"What the circuit must hold: {', '.join(OBJECTIVES)}. [logit-diff]"
    ),
]
Slack = Annotated[
    float | None, typer.Option(metavar="X", help="How much lower targets are under all ablations but the first. [0]")
]
Templates = Annotated[bool, typer.Option("--templates", help="Hold it on the worst template, not on the mean.")]
Robust = Annotated[
    bool, typer.Option("--robust", help="Hold what an audit asks, under several ablations and on each template.")
]
Method = Annotated[str, typer.Option(metavar="NAME", help=f"Search method: {', '.join(registry.METHODS)}.")]
Settings = Annotated[list[str] | None, typer.Option("--set", metavar="NAME=VALUE", help="A setting of the method.")]
Seed = Annotated[int, typer.Option(min=0, metavar="N", help="Same seed, same machine: same circuit.")]
Out = Annotated[Path | None, typer.Option(metavar="FILE.json", help="Where to write the circuit file.")]
Force = Annotated[bool, typer.Option("--force", help="Replace a file that circuit-tui did not write.")]
Text = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="A text on which audits measure the SAEs' cost. [the demo's]"),
]
Memory = Annotated[bool, typer.Option("--memory", help="Say how much of the device's memory it needs; load nothing.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout.")]
Debug = Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")]


EdgeTarget = Annotated[float | None, typer.Option(metavar="X", help="Drop edges as long as this faithfulness is held.")]


def edge_target(value: float) -> float:
    """Return `value`. Raises a `UserError` if no edge circuit can be asked to hold it."""
    if not 0 < value <= 1:
        raise UserError(f"--edge-target {value:g}: must be above 0 and at most 1")
    return value


def given_settings(texts: Sequence[str] | None) -> dict[str, str]:
    """The settings that each ``--set NAME=VALUE`` gives. Raises a `UserError` if one is of another form."""
    given: dict[str, str] = {}
    for text in texts or ():
        name, equals, value = text.partition("=")
        if not (name and equals and value):
            raise UserError(f"--set {text}: write NAME=VALUE")
        given[name] = value
    return given


def ablations(text: str | None, *, robust: bool = False) -> tuple[AblationKind, ...]:
    """The ablations that ``--ablation`` names, the one of the problem first; without it the usual ones.

    Raises:
        UserError: an unknown or repeated name, or none.
    """
    if text is None:
        return ROBUST_ABLATIONS if robust else ("mean",)
    found = parse_ablations(text)
    if not found:
        raise UserError(f"--ablation {text!r}: names none")
    return found


def choice(flag: str, value: str | None, known: Sequence[str]) -> str | None:
    """Return `value`, which is None or one of `known`.

    Raises:
        UserError: it is another word. The message suggests the nearest of `known` and lists all.
    """
    if value is None or value in known:
        return value
    close = difflib.get_close_matches(value.lower(), known, n=1)
    hint = f"did you mean {close[0]}? " if close else ""
    raise UserError(f"{flag} {value}: unknown; {hint}choose one of {', '.join(known)}")


def check_text(path: Path | None) -> None:
    """Raise a `UserError` if there is no file at `path`: before the work rather than in the middle of it."""
    if path is not None and not path.expanduser().is_file():
        raise UserError(f"--text {path}: no such file")


def same_file(one: Path, other: Path) -> bool:
    """Whether both paths name one file, which need not exist."""
    return one.expanduser().resolve() == other.expanduser().resolve()


def check_out(path: Path) -> None:
    """Raise a `UserError` if `path` cannot be written: before the work rather than after it."""
    from circuit_tui.core.atomic_file import check_target

    check_target(path)


def check_replacing(path: Path, *, force: bool, continues: str = "") -> str | None:
    """Return the kind of the file that writing `path` replaces, and say that it will be; None if there is none.

    Nothing is said of a file of the kind `continues`, which the command goes on with.

    Raises:
        UserError: `path` cannot be written, or circuit-tui did not write the file there and there is no `force`.
    """
    from circuit_tui.core.outputs.output_file import check_output

    kind = check_output(path, force=force)
    if kind not in (None, continues):
        progress.say(f"{path} will be replaced: it is a {kind}")
    return kind


def check_table(flag: str, path: Path | None, *, force: bool) -> None:
    """Check early that the table of `flag` can be written, and say what it replaces.

    Raises:
        UserError: the name is none of a table, or what `check_replacing` raises.
    """
    if path is not None:
        from circuit_tui.core.outputs.table_file import check_table_name

        check_table_name(path, flag)
        check_replacing(path, force=force)


@contextlib.contextmanager
def claimed_out(path: Path | None, *, force: bool, continues: str = "") -> Iterator[str | None]:
    """Hold the lock of an output file while the command works; yields what `check_replacing` returns.

    Raises:
        UserError: another process writes `path`, or what `check_replacing` raises.
    """
    if path is None:
        yield None
        return
    from circuit_tui.core.outputs.output_file import claimed

    check_out(path)
    with claimed(path):
        yield check_replacing(path, force=force, continues=continues)
