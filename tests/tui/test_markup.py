"""No text that is not the program's own reaches a widget of Textual that would parse it as markup."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import circuit_tui.tui

ROOT = Path(circuit_tui.tui.__file__).parent
FILES = sorted(path for path in ROOT.rglob("*.py") if "commands" not in path.parts)
PARSING = {"Label", "Static", "Button", "Checkbox", "RadioButton", "Option", "Collapsible", "Link"}
TITLES = {"border_title", "border_subtitle", "tooltip", "sub_title"}
SAFE = {"plain", "Content", "Text", "count", "amount"}  # numbers, and text that is not parsed


def is_own(node: ast.expr, names: set[str]) -> bool:
    """Whether `node` is text that the program's author wrote, or is protected; `names` are such variables."""
    match node:
        case ast.Constant():
            return True
        case ast.Name(name):
            return name in names
        case ast.JoinedStr(values):
            return all(is_own(value, names) for value in values)
        case ast.FormattedValue(value):
            return is_own(value, names)
        case ast.IfExp(_, one, other):
            return is_own(one, names) and is_own(other, names)
        case ast.BinOp(one, _, other):
            return is_own(one, names) and is_own(other, names)
        case ast.Call(ast.Name(name), _, _):
            return name in SAFE or name == "len"
        case ast.Call(ast.Attribute(ast.Call(ast.Name(name)))) if name in SAFE:
            return True
        case ast.Call(ast.Attribute(text, "capitalize"), []):
            return is_own(text, names)
        case ast.Call(ast.Attribute(ast.Dict(_, values), "get"), others, _):
            return all(is_own(value, names) for value in (*values, *others[1:]))
        case ast.Attribute(ast.Name("size"), "width" | "height"):
            return True
        case ast.Subscript(ast.Name(name), _):
            return name.isupper()
    return False


def own_names(tree: ast.AST) -> set[str]:
    """Variables and constants that only ever hold text of the author."""
    found: dict[str, bool] = {}
    for _ in range(3):  # names that are made of names
        names = {name for name, own in found.items() if own}
        found = {}
        for node in ast.walk(tree):
            match node:
                case ast.Assign([ast.Name(name)], value) | ast.AnnAssign(ast.Name(name), _, ast.expr() as value):
                    found[name] = found.get(name, True) and is_own(value, names)
                case ast.arg(name):
                    found[name] = False
                case ast.For(ast.Name(name), source) | ast.comprehension(ast.Name(name), source):
                    constant = isinstance(source, ast.Name) and source.id.isupper()
                    found[name] = found.get(name, True) and constant
    return {name for name, own in found.items() if own}


def parsed(tree: ast.AST) -> Iterator[tuple[int, ast.expr]]:
    """Every text that a widget parses as markup, with its line."""
    for node in ast.walk(tree):
        match node:
            case ast.Call(ast.Name(name), [text, *_], keywords) if name in PARSING:
                if not any(
                    k.arg == "markup" and isinstance(k.value, ast.Constant) and not k.value.value for k in keywords
                ):
                    yield node.lineno, text
            case ast.Assign([ast.Attribute(_, name)], value) if name in TITLES:
                yield node.lineno, value


def test_only_text_of_the_program_is_parsed_as_markup() -> None:
    wrong = []
    for path in FILES:
        tree = ast.parse(path.read_text())
        names = own_names(tree)
        wrong += [f"{path}:{line}: {ast.unparse(text)}" for line, text in parsed(tree) if not is_own(text, names)]
    assert not wrong, "give it `markup=False`, or `plain(…)`"


@pytest.mark.parametrize(
    ("code", "own"),
    [
        ("Label('[b]q[/b] quits')", True),
        ("Label(name)", False),
        ("Label(name, markup=False)", True),
        ("Label(f'file {name}')", False),
        ("Label(f'{count(n)} nodes')", True),
        ("def f(name):\n box.border_title = name", False),
        ("def f(name):\n box.border_title = plain(name)", True),
        ("hint = 'esc' if x else 'q'\nLabel(f'{hint} closes')", True),
    ],
)
def test_the_check_itself(code: str, own: bool) -> None:
    tree = ast.parse(code)
    assert all(is_own(text, own_names(tree)) for _, text in parsed(tree)) == own
