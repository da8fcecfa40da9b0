"""Robust circuits beside default ones and those of other methods at the same size, under the same lines of the audit.

    python benchmarks/robust.py [--tasks a,b] [--default DIR] [--robust DIR] [--methods a,b]

DIR holds TASK.json as `benchmarks/audits.py` makes them, without `--robust` and with it; a file that is missing is left
out. `ig` and `hard-concrete` keep as many nodes as the robust circuit has. Of `published` it is the circuit nearest to
that size among those of three penalties. Prints a row for each circuit: how many of the lines that need no
search, no text and no random circuits are doubtful and bad, and their numbers on held-out prompts. `clean-mean` and
the unseen template are what no search used.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import torch
from audits import number_text
from estimates import ended_in
from torch import Tensor

from circuit_tui.core.audit.lines import LINES
from circuit_tui.core.audit.open_audit import audited_circuit
from circuit_tui.core.audit.run import Audit
from circuit_tui.core.audit.settings import AuditSettings
from circuit_tui.core.opening.experiment import Experiment
from circuit_tui.core.opening.request import OpenRequest
from circuit_tui.core.search.ranking import RankingMethod, prefix
from circuit_tui.core.search.search import Search
from circuit_tui.core.search.spec import SearchSpec
from circuit_tui.core.session.session import open_session
from circuit_tui.core.tasks import builtin as tasks

KEYS = (
    "held-out", "overfit", "unseen", "answers", "errors", "averaging", "distribution", "completeness", "ablation",
)  # fmt: skip
PENALTIES = (0.05, 0.4, 3.0)
CHEAP = tuple(line for line in LINES if line.key in KEYS)
COLUMNS = (
    "task", "circuit", "nodes", "doubtful", "bad", "held-out f", "unseen f", "disagree", "error left", "KL left",
    "completeness", "zero / resample / clean-mean f",
)  # fmt: skip


def row(experiment: Experiment, kept: Tensor, name: str) -> str:
    """The row of the circuit `kept` `[node]` bool."""
    spec = SearchSpec("mask", 0.95, 0).complete()
    audit = Audit(audited_circuit(experiment, kept, spec, None, AuditSettings()), CHEAP)
    for _ in audit:
        pass
    of = {finding.key: finding.numbers for finding in audit.findings}
    number = partial(number_text, {key: of[key] for key in KEYS})
    verdicts = [finding.verdict for finding in audit.findings]
    ablations = (number("ablation", f"{kind}_ratio_of_means") for kind in ("zero", "resample", "clean-mean"))
    cells = (
        experiment.problem.task.name, name, str(int(kept.sum())), str(verdicts.count("doubtful")),
        str(verdicts.count("bad")), number("held-out", "faithfulness"), number("unseen", "faithfulness"),
        number("answers", "disagree", ".1%"), number("errors", "left", ".0%"), number("distribution", "kl_left", ".0%"),
        number("completeness", "completeness"), " / ".join(ablations),
    )  # fmt: skip
    return f"| {' | '.join(cells)} |"


def of_size(experiment: Experiment, method: str, size: int) -> Tensor:
    """The circuit `[node]` bool of `size` nodes that a method would keep; of `published` the nearest in size."""
    if method == "published":
        found = [_searched(experiment, method, {"lambda": weight}) for weight in PENALTIES]
        return min(found, key=lambda kept: abs(int(kept.sum()) - size))
    if method == "hard-concrete":
        return _searched(experiment, method, {"size": size})
    spec = SearchSpec(method, 0.95, 0).complete()
    attempt = Search(experiment.problem, experiment.train, experiment.test, spec, circuit_only=True).attempt
    assert isinstance(attempt, RankingMethod)
    scoring = attempt.score_nodes()
    while True:
        try:
            next(scoring)
        except StopIteration as end:
            return prefix(end.value.argsort(descending=True, stable=True), size)


def _searched(experiment: Experiment, method: str, settings: dict[str, float | int]) -> Tensor:
    """The circuit `[node]` bool that the optimisation of a method ends in."""
    spec = SearchSpec(method, 0.95, 0, dict(settings)).complete()
    return ended_in(Search(experiment.problem, experiment.train, experiment.test, spec, circuit_only=True))


def rows(name: str, folders: dict[str, Path], methods: list[str]) -> Iterator[str]:
    """The rows of the task `name`."""
    size = 0
    for label, folder in folders.items():
        path = folder / f"{name}.json"
        if path.is_file():
            session = open_session(OpenRequest(circuit=path))
            size = int(session.kept.sum())
            yield row(session.experiment, session.kept, label)
    if size and methods:
        experiment = open_session(OpenRequest(task=name)).experiment
        for method in methods:
            yield row(experiment, of_size(experiment, method, size), method)


def main() -> int:
    """Parses the command line and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", default=",".join(tasks.names()))
    parser.add_argument("--default", type=Path, default=Path(".demo-cache/audits"))
    parser.add_argument("--robust", type=Path, default=Path(".demo-cache/audits-robust"))
    parser.add_argument("--methods", default="ig,hard-concrete,published")
    args = parser.parse_args()
    torch.set_num_threads(1)
    print(f"| {' | '.join(COLUMNS)} |\n|---|---|{'--:|' * (len(COLUMNS) - 2)}")
    for name in args.tasks.split(","):
        for line in rows(name, {"default": args.default, "robust": args.robust}, args.methods.split(",")):
            print(line, flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
