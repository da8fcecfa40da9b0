"""The package holds what the tree holds: no folder forgotten in the list, no data file missing from the wheel."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path
from typing import Any

import pytest

DATA = ("*.json", "*.tcss", "*.safetensors", "py.typed")


@pytest.fixture(scope="module")
def project(root: Path) -> dict[str, Any]:
    return tomllib.loads((root / "pyproject.toml").read_text())


def _module(path: Path) -> str:
    return ".".join(("circuit_tui", *path.parts))


def test_the_package_list_is_the_tree(root: Path, project: dict[str, Any]) -> None:
    folders = {path.parent.relative_to(root) for top in ("core", "tui") for path in (root / top).rglob("*.py")}
    packages = [*map(_module, folders), "circuit_tui.examples"]
    assert sorted(project["tool"]["setuptools"]["packages"]) == sorted(packages)
    for folder in folders:
        assert (root / folder / "__init__.py").is_file(), f"{folder} is no package"


def test_the_namespace_has_no_init(root: Path) -> None:
    assert not (root / "circuit_tui").exists()


@pytest.fixture(scope="module")
def wheel(root: Path, tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    """A wheel built from a copy of the tree with what is installed: nothing is fetched."""
    if importlib.util.find_spec("setuptools") is None:
        pytest.skip("setuptools is absent")
    out = tmp_path_factory.mktemp("wheel")
    copy = out / "source"
    copy.mkdir()
    listed = [
        "git",
        "ls-files",
        "--cached",
        "--others",
        "--exclude-standard",
        "-z",
        "core",
        "tui",
        "examples",
        "pyproject.toml",
    ]
    names = subprocess.run([*listed, "README.md", "LICENSE"], cwd=root, check=True, capture_output=True, text=True)
    for name in filter(None, names.stdout.split("\0")):
        if (root / name).is_file():
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            (copy / name).symlink_to(root / name)
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "-w", str(out)]
    done = subprocess.run([*command, str(copy)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return zipfile.ZipFile(next(out.glob("*.whl")))


def test_the_wheel_holds_every_module_and_data_file(root: Path, wheel: zipfile.ZipFile) -> None:
    inside = set(wheel.namelist())
    for top in ("core", "tui"):
        files = [path for pattern in ("*.py", *DATA) for path in (root / top).rglob(pattern)]
        missing = [str(path) for path in files if f"circuit_tui/{path.relative_to(root)}" not in inside]
        assert files
        assert not missing
    examples = [
        path for path in (root / "examples" / "smollm2").rglob("*") if path.suffix in (".jsonl", ".safetensors")
    ]
    assert len(examples) == 10
    assert {f"circuit_tui/{path.relative_to(root)}" for path in examples} <= inside


def test_the_wheel_holds_the_licence_and_the_command(wheel: zipfile.ZipFile) -> None:
    info = "circuit_tui-0.1.0.dist-info"
    assert f"{info}/licenses/LICENSE" in wheel.namelist()
    assert "circuit-tui = circuit_tui.tui.cli:main" in wheel.read(f"{info}/entry_points.txt").decode()


def test_the_demo_is_at_most_eight_megabytes(root: Path) -> None:
    assert sum(path.stat().st_size for path in (root / "core" / "demo").rglob("*.safetensors")) <= 8_000_000


def test_constraints_pin_every_dependency_by_exact_version(root: Path, project: dict[str, Any]) -> None:
    lines = (root / "constraints.txt").read_text().splitlines()
    pins = dict(line.split("==") for line in lines if line and not line.startswith("#"))
    assert pins["torch"] == "2.13.0", "without a local version: plain pip finds the CPU build only then"
    assert all(re.fullmatch(r"[\w.-]+", name) and re.fullmatch(r"[\w.]+", pin) for name, pin in pins.items())
    known = {name.lower().replace("_", "-") for name in pins}
    wanted = project["project"]["dependencies"] + project["project"]["optional-dependencies"]["dev"]
    for requirement in wanted:
        name = re.split(r"[<>=!~ ]", requirement)[0].lower().replace("_", "-")
        assert name in known, f"{name} is not pinned"
