"""Rules of the house that no linter knows: names, lengths, and who may import whom."""

from __future__ import annotations

import ast
import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

MAX_LINES = 400
VAGUE = {"util", "utils", "helper", "helpers", "common", "manager", "misc", "base", "tools"}
SCREEN = {"textual", "rich", "typer", "click"}


def _sources(root: Path, *tops: str) -> list[Path]:
    found = [path for top in tops for path in sorted((root / top).rglob("*.py"))]
    assert found
    return found


def _imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            yield node.module or ""


def test_names_say_what_a_file_is_for(root: Path) -> None:
    vague = [path for path in _sources(root, "core", "tui", "tests") if path.stem in VAGUE]
    assert not vague


def test_files_are_short(root: Path) -> None:
    lengths = {str(path): len(path.read_text().splitlines()) for path in _sources(root, "core", "tui")}
    assert not {path: n for path, n in lengths.items() if n > MAX_LINES}


def test_every_module_says_what_it_is_for(root: Path) -> None:
    silent = [path for path in _sources(root, "core", "tui") if not ast.get_docstring(ast.parse(path.read_text()))]
    assert not silent


def test_core_imports_nothing_of_the_screen(root: Path) -> None:
    for path in _sources(root, "core"):
        for name in _imports(path):
            assert name.split(".")[0] not in SCREEN, f"{path} imports {name}"
            assert not name.startswith("circuit_tui.tui"), f"{path} imports {name}"


def test_the_folders_are_never_imported_by_their_own_names(root: Path) -> None:
    for path in _sources(root, "core", "tui", "tests"):
        for name in _imports(path):
            assert name.split(".")[0] not in {"core", "tui"}, f"{path} imports {name}"


def _parsed_tests(root: Path) -> dict[Path, ast.Module]:
    return {path: ast.parse(path.read_text()) for path in _sources(root, "tests")}


def _defined(tree: ast.Module) -> set[str]:
    """The names that a module defines or imports at its top level."""
    names = set[str]()
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.Import | ast.ImportFrom):
            names |= {alias.asname or alias.name for alias in node.names}
        else:
            names |= {part.id for part in ast.walk(node) if isinstance(part, ast.Name)}
    return names


def test_what_tests_import_from_each_other_is_there(root: Path) -> None:
    """A builder that was renamed is noticed here, before the tests that use it are run."""
    trees = _parsed_tests(root)
    shared = {
        ".".join(path.relative_to(root / "tests" / folder).with_suffix("").parts): _defined(tree)
        for folder in ("core", "examples", "tui", "hub")
        for path, tree in trees.items()
        if (root / "tests" / folder) in path.parents and not path.name.startswith(("test_", "conftest"))
    }
    imports = [
        (path.name, node.module, alias.name)
        for path, tree in trees.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] in {*shared, "tiny"}
        for alias in node.names
    ]
    assert imports
    assert not [one for one in imports if one[1] not in shared or one[2] not in shared[one[1]]]


def _fixture_names(tree: ast.AST) -> set[str]:
    functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    return {node.name for node in functions if any("fixture" in ast.unparse(one) for one in node.decorator_list)}


def test_every_fixture_that_a_test_asks_for_is_there(root: Path) -> None:
    trees = _parsed_tests(root)
    built_in = {"request", "tmp_path", "tmp_path_factory", "monkeypatch", "capsys", "capfd", "caplog", "recwarn"}
    own = {path: _fixture_names(tree) for path, tree in trees.items()}
    missing = []
    for path, tree in trees.items():
        above = [parent / "conftest.py" for parent in path.parents]
        known = built_in.union({"snap_compare"}, own[path], *(own[each] for each in above if each in own))
        for node in tree.body:
            if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                continue
            if not node.name.startswith("test_") and node.name not in own[path]:
                continue
            given = " ".join(map(ast.unparse, node.decorator_list))
            if "given(" in given:  # hypothesis draws by position
                continue
            asked = [one.arg for one in node.args.args[: len(node.args.args) - len(node.args.defaults)]]
            missing += [
                f"{path.name}: {node.name}({name})"
                for name in asked
                if name not in known and not re.search(rf"\b{name}\b", given)
            ]
    assert not missing


# By file: the kind of contract that it breaks with a line at its end, that line, and the module that it then imports.
FORBIDDEN_IMPORTS = {
    "core/atomic_file.py": ("forbidden", "import rich.text", "rich"),
    "core/tasks/builtin/__init__.py": ("forbidden", "def late():\n    import textual", "textual"),
    "core/views.py": ("forbidden", "from circuit_tui.tui import explorer_options", "circuit_tui.tui.explorer_options"),
    "tui/explorer_options.py": ("forbidden", "import torch", "torch"),
    "core/tasks/task.py": ("layers of circuit_tui.core", "import circuit_tui.core.session", "circuit_tui.core.session"),
    "tui/screens/frame.py": (
        "layers of circuit_tui.tui",
        "def late():\n    from circuit_tui.tui import app",
        "circuit_tui.tui.app",
    ),
    "tui/drawing/line.py": (
        "acyclic_siblings",
        "from circuit_tui.tui.drawing import chart",
        "circuit_tui.tui.drawing.chart",
    ),
}


def _lint_imports(folder: Path) -> str:
    """What `lint-imports` says of the copy in `folder`."""
    command = Path(sys.executable).with_name("lint-imports")
    if not command.exists():
        pytest.skip("import-linter is absent")
    env = os.environ | {"PYTHONPATH": str(folder)}
    return subprocess.run([command, "--no-cache"], cwd=folder, env=env, capture_output=True, text=True).stdout


@pytest.fixture(scope="module")
def broken_imports(root: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What `lint-imports` says of a copy with every forbidden import, by the kind of contract."""
    folder = tmp_path_factory.mktemp("imports")
    for top in ("core", "tui"):
        only_python = shutil.ignore_patterns("__pycache__", "*.safetensors")
        shutil.copytree(root / top, folder / "circuit_tui" / top, ignore=only_python)
    shutil.copy(root / "pyproject.toml", folder)
    assert ", 0 broken." in _lint_imports(folder), "the copy is whole before it is broken"
    for file, (_, line, _) in FORBIDDEN_IMPORTS.items():
        with (folder / "circuit_tui" / file).open("a") as source:
            source.write(f"\n{line}\n")
    _, *parts = re.split(r"^(.+)\n-+\n", _lint_imports(folder).partition("Broken contracts")[2], flags=re.MULTILINE)
    contracts = tomllib.loads((root / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    kinds = {
        contract["name"]: " of ".join([contract["type"], *contract.get("containers", [])]) for contract in contracts
    }
    found = dict.fromkeys(kinds.values(), "")
    for name, says in zip(parts[::2], parts[1::2], strict=True):
        found[kinds[name]] += says
    return found


@pytest.mark.parametrize("file", FORBIDDEN_IMPORTS)
def test_an_import_contract_catches_a_broken_import(broken_imports: dict[str, str], file: str) -> None:
    """An import contract over a namespace package is easily one that sees no files at all."""
    kind, _, imported = FORBIDDEN_IMPORTS[file]
    importer = file.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
    if kind == "acyclic_siblings":
        folder, _, name = imported.rpartition(".")
        assert f"No cycles are allowed in {folder}." in broken_imports[kind]
        assert f"-> .{name} (1 import)" in broken_imports[kind]
    else:
        assert f"circuit_tui.{importer} -> {imported} (l." in broken_imports[kind]


@pytest.mark.parametrize(
    ("module", "allowed"), [("cli", set()), ("commands.start", set()), ("commands.parser", {"typer"})]
)
def test_the_command_line_starts_without_heavy_imports(module: str, allowed: set[str]) -> None:
    """The first frame waits for these. Torch alone takes a second."""
    heavy = {"torch", "transformers", "sae_lens", "transformer_lens", "numpy", "pydantic", "jsonschema"}
    heavy |= {"rich", "typer"}
    code = f"import sys, circuit_tui.tui.{module}; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert f"circuit_tui.tui.{module}" in loaded
    assert not (heavy - allowed) & set(loaded)
