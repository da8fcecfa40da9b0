"""``circuit-tui tasks``: the built-in tasks; tasks made of templates, and out of files of other tools."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from circuit_tui.core.errors import UserError
from circuit_tui.tui.commands import options, output, progress
from circuit_tui.tui.commands.boundary import DONE

if TYPE_CHECKING:
    from circuit_tui.core.opening.plain_numbers import PlainNumbers
    from circuit_tui.core.tasks.make_task import MadeTask, MadeTemplate
    from circuit_tui.core.tasks.task import Task

tasks_app = typer.Typer(name="tasks", invoke_without_command=True, subcommand_metavar="[make|convert]")
PromptsOut = Annotated[Path, typer.Option("--out", metavar="FILE.jsonl", help="Where to write the prompts file.")]
Force = Annotated[bool, typer.Option("--force", help="Replace a file that is there.")]
Model = Annotated[str, typer.Option(metavar="NAME|DIR", help="The model whose tokens decide, and that is measured.")]


@tasks_app.callback()
def tasks(context: typer.Context, json: options.Json = False, debug: options.Debug = False) -> int:
    """List the built-in tasks; make one of templates, or out of another tool's file."""
    if context.invoked_subcommand is not None:
        return DONE
    from circuit_tui.core.tasks.builtin import builtin, names

    rows = [_plain_values(builtin(name)) for name in names()]
    if json:
        output.print_json({"tasks": rows})
        return DONE
    output.print_table(
        ("task", "train", "test", "unseen", "positions", "description"),
        [
            (
                row["name"],
                str(row["n_train"]),
                str(row["n_test"]),
                str(row["n_unseen"]),
                " ".join(row["positions"]),
                row["description"],
            )
            for row in rows
        ],
        right=("train", "test", "unseen"),
    )
    return DONE


@tasks_app.command()
def make(
    file: Annotated[Path, typer.Argument(metavar="FILE.toml", help="Word lists, templates, and the two sides.")],
    model: Model,
    out: PromptsOut,
    force: Force = False,
    device: Annotated[str | None, typer.Option(metavar="NAME", help="cpu, cuda, cuda:N or mps.")] = None,
    json: options.Json = False,
    debug: options.Debug = False,
) -> int:
    """Make a task of templates, and say for each template what was left out and how well the model does it."""
    from circuit_tui.core.tasks.templates import read_templates

    with options.claimed_out(out, force=force), output.quiet(debug=debug):
        templates = read_templates(file)
        progress.say("loading …")
        from circuit_tui.core.atomic_file import write_text
        from circuit_tui.core.opening.plain_numbers import PlainNumbers, open_plain_model, plain_numbers
        from circuit_tui.core.tasks.make_task import make_task
        from circuit_tui.core.tasks.prompts_file import write_prompts

        opened = open_plain_model(model, progress.loading, device)
        try:
            made = make_task(templates, out.stem, opened.tokenizer)
        except UserError as error:
            raise UserError(f"{file}: {error}") from error
        progress.say(f"asking {opened.name}")
        measured = [plain_numbers(opened, made.task.name, one.pairs) if one.pairs else None for one in made.templates]
        together = PlainNumbers.together([numbers for numbers in measured if numbers is not None])
        write_text(write_prompts(made.task), out)
    if json:
        rows = [_template_values(*each) for each in zip(made.templates, measured, strict=True)]
        facts = {"words_left_out": made.words_left_out, "templates": rows, "all": asdict(together)}
        output.print_json({"file": str(out), "model": opened.name, **_plain_values(made.task), **facts})
    else:
        _print_made(made, measured, together)
    progress.say(f"wrote {out}: {len(made.task.pairs)} pairs")
    return DONE


@tasks_app.command()
def convert(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Prompts of EAP-IG, auto-circuit or feature-circuits.")],
    out: PromptsOut,
    format: Annotated[
        str | None,
        typer.Option("--format", metavar="NAME", help="eap-ig, auto-circuit or feature-circuits. [told by FILE]"),
    ] = None,
    model: Annotated[
        str | None, typer.Option(metavar="NAME|DIR", help="The model of the token ids, where the file has such.")
    ] = None,
    force: Force = False,
    json: options.Json = False,
    debug: options.Debug = False,
) -> int:
    """Make a prompts file out of a file of EAP-IG (CSV), auto-circuit (JSON) or feature-circuits (JSON lines)."""
    from circuit_tui.core.tasks.convert_prompts import FORMATS, convert_prompts

    options.choice("--format", format, FORMATS)
    with options.claimed_out(out, force=force), output.quiet(debug=debug):
        from circuit_tui.core.atomic_file import write_text
        from circuit_tui.core.tasks.prompts_file import write_prompts

        tokenizer = None if model is None else _tokenizer(model)
        made = convert_prompts(file, tokenizer, format)
        write_text(write_prompts(made.task), out)
    for note in made.notes:
        progress.say(f"note: {note}")
    if json:
        values = {**_plain_values(made.task), "name": out.stem}
        output.print_json({"file": str(out), "format": made.format, **values, "notes": list(made.notes)})
    else:
        counts = ", ".join(f"{len(made.task.split(split))} {split}" for split in ("train", "test"))
        output.print_line(f"{out}: {counts}, from {made.format}")
    return DONE


def _tokenizer(model: str) -> Any:
    from circuit_tui.core.models.load_model import load_tokenizer
    from circuit_tui.core.models.model_files import model_folder
    from circuit_tui.core.views import LoadProgress

    stage = LoadProgress(f"reading the tokenizer of {model}", 0, 1)
    return load_tokenizer(*model_folder(model, None, progress.loading, stage, weights=False))


def _print_made(made: MadeTask, measured: list[PlainNumbers | None], together: PlainNumbers) -> None:
    rows = [
        (one.text, str(len(one.pairs)), *_cells(numbers), _reasons(one))
        for one, numbers in zip(made.templates, measured, strict=True)
    ]
    rows.append(("all", str(len(made.task.pairs)), *_cells(together), ""))
    columns = ("template", "pairs", "accuracy", "likeliest", "logit difference", "left out")
    output.print_table(columns, rows, right=columns[1:5])
    counts = ", ".join(f"{len(made.task.split(split))} {split}" for split in ("train", "test", "unseen"))
    output.print_line(
        f"{counts}. Accuracy: right likelier than wrong. Likeliest: right is the likeliest of all tokens."
    )
    for name, words in made.words_left_out.items():
        output.print_line(f"words.{name}: left out, as no single tokens: {', '.join(words)}")


def _cells(numbers: PlainNumbers | None) -> tuple[str, str, str]:
    if numbers is None:
        return "–", "–", "–"
    return (
        output.number(numbers.accuracy, 2),
        output.number(numbers.likeliest, 2),
        output.number(numbers.logit_difference, 2),
    )


def _reasons(one: MadeTemplate) -> str:
    return ", ".join(f"{count} {reason}" for reason, count in one.left_out.items())


def _template_values(one: MadeTemplate, numbers: PlainNumbers | None) -> dict[str, Any]:
    return {
        "text": one.text,
        "split": "unseen" if one.pairs and one.pairs[0].split == "unseen" else "train, test",
        "pairs": len(one.pairs),
        "left_out": dict(one.left_out),
        "numbers": None if numbers is None else asdict(numbers),
    }


def _plain_values(task: Task) -> dict[str, Any]:
    """One task in plain values. `positions` are the roles its prompts name, in order of appearance."""
    roles = dict.fromkeys(role for pair in task.pairs for role in pair.roles)
    return {
        "name": task.name,
        "description": task.description,
        "n_train": len(task.split("train")),
        "n_test": len(task.split("test")),
        "n_unseen": len(task.split("unseen")),
        "positions": list(roles),
    }
