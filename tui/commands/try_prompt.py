"""``circuit-tui try``: a circuit on a prompt of one's own."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from circuit_tui.tui.commands import options, output
from circuit_tui.tui.commands.boundary import DONE
from circuit_tui.tui.commands.open_file import open_file_problem
from circuit_tui.tui.commands.opening import Reopening, reopening_flags

if TYPE_CHECKING:
    from circuit_tui.core.prompting.report import PromptReport
    from circuit_tui.core.splice.problem import Problem

RUNS = (("plain", "M"), ("spliced", "M_s"), ("circuit", "circuit"), ("empty", "∅"))


@reopening_flags
def try_prompt(
    file: Annotated[Path, typer.Argument(metavar="FILE.json", help="The circuit file.")],
    prompt: Annotated[str, typer.Argument(metavar="PROMPT", help="The prompt.")],
    roles: Annotated[
        str | None, typer.Option(metavar="WORDS", help="The position of each word of the prompt. [the task's template]")
    ] = None,
    answer: Annotated[str | None, typer.Option(metavar="TEXT", help="A right answer, with its leading space.")] = None,
    wrong: Annotated[str | None, typer.Option(metavar="TEXT", help="A wrong answer, with its leading space.")] = None,
    *,
    reopening: Reopening,
    json: options.Json = False,
    debug: options.Debug = False,
) -> int:
    """Run a circuit on any prompt: next tokens, KL to the model and, with two answers, faithfulness on this prompt.

    An ablated node takes its reference from the task's train prompts. The words of the prompt need positions: those of
    the task's template that it matches word for word but for the slots, or --roles.
    """
    from circuit_tui.core.circuits.circuit_file import read_circuit
    from circuit_tui.core.prompting.report import FreePrompt

    request = reopening.request()
    asked = FreePrompt(prompt, tuple((roles or "").split()), answer, wrong)
    asked.check()
    claimed = read_circuit(file)
    with output.quiet(debug=debug):
        opened = open_file_problem(claimed, request, file.expanduser().parent)
        from circuit_tui.core.opening.open_circuit import open_circuit
        from circuit_tui.core.prompting.try_prompt import try_prompt as run

        report = run(opened, open_circuit(file, opened).kept, asked)
        active = _active(opened.problem, report)
    if json:
        output.print_json({"file": str(file), "prompt": prompt, **asdict(report), "active": active})
    else:
        _print(report, active)
    return DONE


def _active(problem: Problem, report: PromptReport) -> list[dict[str, Any]]:
    """The nodes that fire, by the names that a circuit file has for them."""
    space, names = problem.space, problem.alignment.names
    return [
        {
            "hook": problem.sites[int(space.site[each.node])].hook,
            "position": names[int(space.position[each.node])],
            "latent": int(space.latent[each.node]),
            "token": each.token,
            "activation": each.activation,
            "reference": each.reference,
        }
        for each in report.active
    ]


def _print(report: PromptReport, active: list[dict[str, Any]]) -> None:
    rows = []
    for field, name in RUNS:
        run = getattr(report, field)
        likeliest = "  ".join(
            f"{token.text.strip() or repr(token.text)} {token.probability:.3f}" for token in run.likeliest
        )
        rows.append((name, output.number(run.logit_diff), output.number(run.kl), likeliest))
    output.print_table(("", "logit diff", "KL to M", "likeliest next tokens"), rows, right=("logit diff", "KL to M"))
    output.print_line()
    if report.circuit.logit_diff is not None:
        against = output.number(report.faithfulness), output.number(report.faithfulness_spliced)
        output.print_line(f"faithfulness on this prompt: {against[0]} against M, {against[1]} against M_s")
        output.print_line()
    output.print_table(
        ("token", "position", "nodes that fire", "activation", "reference"),
        [
            (
                report.tokens[each["token"]],
                each["position"],
                f"{each['hook']}/{each['latent']}",
                output.number(each["activation"]),
                output.number(each["reference"]),
            )
            for each in active
        ],
        right=("activation", "reference"),
    )
