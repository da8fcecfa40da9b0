"""Puts the commands together, and turns the parser's own errors into a `UserError`."""

from __future__ import annotations

from typing import Annotated

import typer

from circuit_tui.core.errors import UserError
from circuit_tui.core.opening.request import OpenRequest
from circuit_tui.tui.commands.annotate import annotate
from circuit_tui.tui.commands.attribute import attribute
from circuit_tui.tui.commands.audit import audit
from circuit_tui.tui.commands.check import check
from circuit_tui.tui.commands.circuits import circuits, diff
from circuit_tui.tui.commands.compare import compare
from circuit_tui.tui.commands.doctor import doctor
from circuit_tui.tui.commands.edges import edges
from circuit_tui.tui.commands.explore import explore
from circuit_tui.tui.commands.find import find
from circuit_tui.tui.commands.jobs import jobs
from circuit_tui.tui.commands.latents import latents
from circuit_tui.tui.commands.options import Debug
from circuit_tui.tui.commands.resume import resume
from circuit_tui.tui.commands.saes import saes
from circuit_tui.tui.commands.start import open_explorer
from circuit_tui.tui.commands.sweep import sweep
from circuit_tui.tui.commands.tasks import tasks_app
from circuit_tui.tui.commands.try_prompt import try_prompt
from circuit_tui.tui.commands.why import why

app = typer.Typer(
    name="circuit-tui",
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
    epilog="Exit codes: 0 done, 1 the answer is no, 2 wrong use or bad input, 70 a program error, 130 interrupted.",
)
for _command in (
    explore,
    find,
    resume,
    jobs,
    compare,
    sweep,
    check,
    edges,
    attribute,
    audit,
    latents,
    why,
    annotate,
    circuits,
    diff,
    saes,
    doctor,
):
    app.command()(_command)
app.command("try")(try_prompt)
app.add_typer(tasks_app)


@app.callback(invoke_without_command=True)
def start(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
    debug: Debug = False,
) -> int:
    """A terminal explorer of sparse feature circuits. Without a command it opens the bundled demo."""
    if version:
        from importlib.metadata import version as installed

        typer.echo(f"circuit-tui {installed('circuit-tui')}")
        raise typer.Exit
    return open_explorer(OpenRequest()) if context.invoked_subcommand is None else 0


def parse(args: list[str]) -> int:
    """Run the command that `args` name and return its exit code.

    Raises:
        UserError: an unknown command or flag, or a value that a flag does not take.
    """
    command = typer.main.get_command(app)
    try:
        # Not `app()`, which has its own exit codes for Ctrl-C and a closed pipe.
        with command.make_context("circuit-tui", args) as context:
            return int(command.invoke(context) or 0)
    except typer.Exit as leaving:
        return leaving.exit_code
    except Exception as error:
        # Depending on the version, the parser's exceptions are in a private module of typer or in click.
        say = getattr(error, "format_message", None)
        if say is None:
            raise
        path = getattr(getattr(error, "ctx", None), "command_path", "circuit-tui")
        raise UserError(f"{str(say()).rstrip('.')} (see `{path} --help`)") from error
