"""What README and documentation promise: links lead somewhere, names are those of the program, sizes stay small."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from fake_work import order, record_of

from circuit_tui.core.runs.results_file import ResultsFile
from circuit_tui.tui.actions import ACTIONS
from circuit_tui.tui.commands.parser import app

PAGES = ("README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "CHANGELOG.md")
README_LINES = 250
PICTURE_BYTES = 100_000
PICTURES = {".svg", ".png", ".jpg", ".gif", ".webp"}
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\(([^)\s]+)\)")
SOURCE = re.compile(r"`((?:core|tui|tests|benchmarks|docs)/[\w./-]*)`")


def _pages(root: Path) -> list[Path]:
    return [*(root / name for name in PAGES), *sorted((root / "docs").glob("*.md"))]


def _prose(page: Path) -> str:
    """A page without its blocks of code."""
    return FENCE.sub("", page.read_text())


def _anchors(page: Path) -> set[str]:
    """The anchors that a page's headings have on GitHub: lower case, no punctuation, a hyphen for each space."""
    headings = re.findall(r"^#+ (.*)$", _prose(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def _commands(page: Path) -> Iterator[list[str]]:
    """The words of each `circuit-tui COMMAND …` in a shell block or in backticks."""
    text = page.read_text()
    lines = [line for kind, block in FENCE.findall(text) if kind == "sh" for line in _joined(block).split("\n")]
    for line in [*lines, *re.findall(r"`([^`\n]+)`", FENCE.sub("", text))]:
        words = line.split("#")[0].split()
        if words[:1] == ["circuit-tui"]:
            yield words[1:]


def _joined(block: str) -> str:
    return block.replace("\\\n", " ")


def test_links_lead_somewhere(root: Path) -> None:
    broken = []
    for page in _pages(root):
        for link in LINK.findall(_prose(page)):
            path, _, anchor = link.partition("#")
            if "://" in path:
                continue
            target = (page.parent / path).resolve() if path else page
            found = target.exists() and (not anchor or anchor in _anchors(target))
            broken += [] if found else [f"{page.name}: {link}"]
    assert not broken


def test_files_that_pages_name_are_there(root: Path) -> None:
    pages = _pages(root)
    named = {(page.name, path) for page in pages for path in SOURCE.findall(page.read_text())}
    assert named
    assert not {(page, path) for page, path in named if not (root / path).exists()}


def test_paths_of_the_architecture_are_there(root: Path) -> None:
    """They are written from the repository, from `core/` or from `tui/`."""
    named = set(re.findall(r"`([\w.-]+/[\w./-]*)`", (root / "ARCHITECTURE.md").read_text()))
    assert "splice/splice.py" in named
    assert not [path for path in named if not any((root / base / path).exists() for base in (".", "core", "tui"))]


def test_modules_that_have_moved_are_where_the_changelog_says(root: Path) -> None:
    table = re.search(r"now \|\n  \|---\|---\|\n((?:  \|.*\n)+)", (root / "CHANGELOG.md").read_text())
    assert table
    moved = {name for row in table[1].splitlines() for name in re.findall(r"`([a-z_]+\.[a-z_]+)`", row.split("|")[2])}
    assert moved
    paths = {name: root / "core" / name.replace(".", "/") for name in moved}
    assert not [name for name, path in paths.items() if not (path.is_dir() or path.with_suffix(".py").is_file())]


def test_every_page_is_in_the_index(root: Path) -> None:
    index = (root / "docs" / "README.md").read_text()
    pages = {path.name for path in (root / "docs").glob("*.md")} - {"README.md"}
    assert pages <= set(LINK.findall(index))


def test_the_readme_is_short(root: Path) -> None:
    assert len((root / "README.md").read_text().splitlines()) <= README_LINES


def test_pictures_are_small_and_used(root: Path) -> None:
    pictures = [path for path in (root / "docs").rglob("*") if path.suffix in PICTURES]
    assert pictures
    assert not {path.name: path.stat().st_size for path in pictures if path.stat().st_size > PICTURE_BYTES}
    shown = {(page.parent / link).resolve() for page in _pages(root) for link in LINK.findall(_prose(page))}
    assert not set(pictures) - shown


def test_commands_and_flags_are_those_of_the_program(root: Path) -> None:
    known: dict[str, set[str]] = {}
    for name, command in typer.main.get_command(app).commands.items():
        inner = {f"{name} {each}": one for each, one in getattr(command, "commands", {}).items()}
        for full, one in {name: command, **inner}.items():
            known[full] = {flag for parameter in one.params for flag in (*parameter.opts, *parameter.secondary_opts)}
    unknown = []
    for page in _pages(root):
        for name, *words in filter(None, _commands(page)):
            if name.startswith("-") or name in {"COMMAND", "…"}:
                continue
            name = f"{name} {words[0]}" if words and f"{name} {words[0]}" in known else name
            flags = {word.split("=")[0] for word in words if word.startswith("--")} - {"--help"}
            wrong = flags - known[name] if name in known else {name}
            unknown += [f"{page.name}: circuit-tui {name}: {each}" for each in sorted(wrong)]
    assert not unknown


def test_every_flag_in_the_table_of_flags_belongs_to_its_commands(root: Path) -> None:
    commands = typer.main.get_command(app).commands
    rows = re.findall(r"^\| (`--[^|]*) \| ([^|]*) \|", (root / "docs" / "commands.md").read_text(), re.MULTILINE)
    assert rows
    for flags, of in rows:
        named = [name for name in of.strip().split(", ") if name in commands]
        for flag in re.findall(r"`(--[\w-]+)", flags):
            lacking = [name for name in named if flag not in {opt for p in commands[name].params for opt in p.opts}]
            assert not lacking, f"{flag} of {of}"


def test_every_command_is_in_the_readme(root: Path) -> None:
    readme = (root / "README.md").read_text()
    assert not [name for name in typer.main.get_command(app).commands if f"\n| `{name}` |" not in readme]


def test_every_key_is_in_the_readme(root: Path) -> None:
    keys = (root / "README.md").read_text().partition("## Keys")[2].partition("\n## ")[0]
    panes = {str(number) for number in range(1, 8)}  # the table has `1` to `7`
    shown = {key for action in ACTIONS for key in action.shown.split()} - panes
    assert not [key for key in sorted(shown) if f"`{key}`" not in keys]


def test_pre_commit_runs_what_make_lint_runs(root: Path) -> None:
    makefile = (root / "Makefile").read_text()
    recipe = re.search(r"^lint:.*\n((?:\t.*\n)+)", makefile, re.MULTILINE)
    assert recipe
    lint = [line.strip().replace("$(BIN)", ".venv/bin") for line in recipe[1].splitlines()]
    assert re.findall(r"^ *entry: (.*)$", (root / ".pre-commit-config.yaml").read_text(), re.MULTILINE) == lint


@pytest.mark.slow
def test_the_examples_run(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of a page in their order, in one namespace; comparing.md reads what library.md has written."""
    monkeypatch.chdir(tmp_path)
    with ResultsFile(tmp_path / "results.sqlite") as results:
        results.save(order(tmp_path, 0), record_of(order(tmp_path, 0)))
    names: dict[str, Any] = {}
    for page in ("library.md", "comparing.md"):
        text = (root / "docs" / page).read_text()
        blocks = [(match.start(2), match[2]) for match in FENCE.finditer(text) if match[1] == "python"]
        assert blocks
        for start, block in blocks:
            # Blank lines in front, so that a traceback has the page's own line numbers.
            exec(compile("\n" * text.count("\n", 0, start) + block, page, "exec"), names)
    assert not [check.field for check in names["checks"] if not check.ok]
    assert list(names["frontier"]["size"]) == [1, 2]
    assert (tmp_path / "compared.png").stat().st_size
