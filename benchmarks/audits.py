"""The audit of the default circuit of each task of the demo, as two tables in Markdown.

    python benchmarks/audits.py [--tasks a,b] [--folder DIR] [--full] [--table] [--robust] [--no-searches]

Each task is searched with `circuit-tui find` and audited with `circuit-tui audit`, both with their defaults, one after
the other. With `--robust` it is `find --robust`. With `--no-searches` the lines that rest on searches are left out. The
files stay in `--folder`: what is there is not done again, so the run can be ended and gone on with. `--table` prints
the tables of what is there and computes nothing. With `--full` the audit's own searches are made like the one that
found the circuit.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Mapping
from functools import partial
from pathlib import Path

from circuit_tui.core.audit.finding import TITLES
from circuit_tui.core.circuits.audit_schema import AuditPart
from circuit_tui.core.circuits.circuit_file import read_circuit
from circuit_tui.core.circuits.schema import CircuitFile
from circuit_tui.core.tasks import builtin as tasks

COMMAND = Path(sys.executable).with_name("circuit-tui")
NOT_GOOD = ("doubtful", "bad", "not measured")
NUMBERS = (
    "task",
    "nodes",
    "held-out f (95% interval)",
    "unseen f",
    "disagree",
    "error left",
    "KL left",
    "completeness",
    "zero / resample / clean-mean f",
    "best of 100 random",
    "nonsense",
    "Jaccard: seeds, resampled",
    "always there",
    "min",
)


def made(name: str, path: Path, search: list[str], audit: list[str]) -> None:
    """The file of a task's circuit with its audit at `path`; what is there already is kept.

    `search` and `audit` are further words of the two commands.
    """
    if not path.is_file():
        command = [COMMAND, "find", "--task", name, *search, "--out", path]
        subprocess.run(command, stdout=subprocess.DEVNULL, check=False)
    file = read_circuit(path)
    if file.audit is None or not file.audit.finished:
        command = [COMMAND, "audit", path, "--jobs", "1", *audit]
        done = subprocess.run(command, stdout=subprocess.DEVNULL, check=False)
        if done.returncode not in (0, 1):
            raise SystemExit(done.returncode)


def audits(folder: Path, names: list[str]) -> dict[str, tuple[CircuitFile, AuditPart]]:
    """The files of `folder` that have a finished audit, by task."""
    found = {}
    for name in names:
        path = folder / f"{name}.json"
        file = read_circuit(path) if path.is_file() else None
        if file is not None and file.audit is not None and file.audit.finished:
            found[name] = (file, file.audit)
    return found


def verdicts(found: Mapping[str, tuple[CircuitFile, AuditPart]]) -> list[str]:
    """The table of verdicts, a task in each row: how many lines are good, and which are not."""
    rows = [f"| task | together | good | {' | '.join(NOT_GOOD)} |", "|---|---|--:|" + "---|" * len(NOT_GOOD)]
    for name, (_, audit) in found.items():
        good = sum(line.verdict == "good" for line in audit.findings)
        lists = [
            ", ".join(TITLES[line.key] for line in audit.findings if line.verdict == verdict) or "–"
            for verdict in NOT_GOOD
        ]
        rows.append(f"| {name} | {audit.outcome} | {good} of {len(audit.findings)} | {' | '.join(lists)} |")
    return rows


def numbers(found: Mapping[str, tuple[CircuitFile, AuditPart]]) -> list[str]:
    """The table of numbers, a task in each row."""
    rows = [f"| {' | '.join(NUMBERS)} |", "|---|" + "--:|" * (len(NUMBERS) - 1)]
    for name, (file, audit) in found.items():
        of = {line.key: line.numbers for line in audit.findings}
        number = partial(number_text, of)
        nonsense = of.get("shuffled", {})
        reached = "reached with" if nonsense.get("reached") else f"{number('shuffled', 'faithfulness')} with"
        cells = (
            name,
            str(file.size),
            f"{number('held-out', 'faithfulness')} ({number('held-out', 'low')} to {number('held-out', 'high')})",
            number("unseen", "faithfulness"),
            number("answers", "disagree", ".1%"),
            number("errors", "left", ".0%"),
            number("distribution", "kl_left", ".0%"),
            number("completeness", "completeness"),
            " / ".join(number("ablation", f"{kind}_ratio_of_means") for kind in ("zero", "resample", "clean-mean")),
            number("random", "best_score"),
            f"{reached} {number('shuffled', 'size', '.0f')} nodes",
            f"{number('seeds', 'jaccard_mean', '.2f')}, {number('resamplings', 'jaccard_mean', '.2f')}",
            f"{sum(node.share == 1 for node in audit.shares)} of {len(audit.shares)}",
            f"{audit.seconds / 60:.0f}",
        )
        rows.append(f"| {' | '.join(cells)} |")
    return rows


def number_text(of: Mapping[str, Mapping[str, float | None]], key: str, which: str, form: str = ".3f") -> str:
    """The number `which` of the line `key` in those `of` an audit; a dash where there is none."""
    value = of.get(key, {}).get(which)
    return "–" if value is None else format(value, form)


def main() -> int:
    """Parses the command line, makes what is missing, prints the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", default=",".join(tasks.names()))
    parser.add_argument("--folder", type=Path, default=Path(".demo-cache/audits"))
    parser.add_argument("--full", action="store_true")
    parser.add_argument("--table", action="store_true")
    parser.add_argument("--robust", action="store_true")
    parser.add_argument("--no-searches", action="store_true")
    args = parser.parse_args()
    names = args.tasks.split(",")
    args.folder.mkdir(parents=True, exist_ok=True)
    if not args.table:
        for name in names:
            search = ["--robust"] if args.robust else []
            audit = [flag for flag, on in (("--full", args.full), ("--no-searches", args.no_searches)) if on]
            made(name, args.folder / f"{name}.json", search, audit)
    found = audits(args.folder, names)
    print("\n".join([*verdicts(found), "", *numbers(found)]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
