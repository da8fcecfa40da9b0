"""What the search methods find on a real model, and what audits say about it, as tables in Markdown.

    python benchmarks/real.py [--tasks sva,ioi] [--methods mask,published] [--prompts 128] [--steps 100]
    python benchmarks/real.py --table

The model is SmolLM2-135M with its SAEs (`make smollm2` fetches it). Each task has a process of its own, which opens it
once and then searches with each method at the target, `published` once for each of `--lambdas`. A row is written to
`--folder` as soon as it is known, and what is there is not computed again: the run can be ended at any time and goes on
where it was, in the middle of a search too. `--table` prints the tables of what is there and computes nothing.

`--prompts` keeps so many search and held-out prompts, evenly spread and twins together; `--steps` shortens every
optimisation. Both stand in the rows. Seconds are CPU seconds of the process over the search, memory its peak so far.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

LEVELS = (0.8, 0.9, 0.95)
METHODS = ("mask", "published", "ig", "hard-concrete")
Row = dict[str, Any]


def cpu_seconds() -> float:
    """User and system time of this process."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def key(row: Row) -> tuple[Any, ...]:
    """What tells one row from another."""
    return tuple(row.get(name) for name in ("kind", "task", "label", "prompts", "steps"))


def read_rows(path: Path) -> list[Row]:
    """The rows of a file; a line that was cut off is left out."""
    rows = []
    for line in path.read_text().splitlines() if path.is_file() else []:
        try:
            rows.append(json.loads(line))
        except ValueError:
            break
    return rows


class Rows:
    """The rows in a file, written as they come."""

    def __init__(self, path: Path) -> None:
        self.path, self.rows = path, read_rows(path)
        path.write_text("".join(json.dumps(row) + "\n" for row in self.rows))

    def has(self, row: Row) -> bool:
        """Whether there is a row of this key."""
        return any(key(row) == key(known) for known in self.rows)

    def add(self, row: Row) -> None:
        """Writes a row."""
        self.rows.append(row)
        with self.path.open("a") as file:
            file.write(json.dumps(row) + "\n")
        print(json.dumps({name: row[name] for name in row if name not in ("points", "which")}), flush=True)


def specs(
    methods: Iterable[str], lambdas: Iterable[float], target: float, steps: int | None
) -> Iterator[tuple[str, Any]]:
    """The label and the spec of each search."""
    from circuit_tui.core.search.registry import method as info
    from circuit_tui.core.search.spec import SearchSpec

    for method in methods:
        shorter = {"steps": steps} if steps and method != "ig" and info(method) else {}
        if method == "published":
            for weight in lambdas:
                yield f"published λ {weight:g}", SearchSpec(method, target, 0, {"lambda": weight, **shorter})
        else:
            yield method, SearchSpec(method, target, 0, shorter)


def fewer(task: Any, limit: int | None) -> Any:
    """`task` with at most `limit` pairs in each split, evenly spread; a pair follows its twin."""
    if limit is None:
        return task
    kept = []
    for split in ("train", "test", "unseen"):
        pairs = task.split(split)
        twins = [pairs[start : start + 2] for start in range(0, len(pairs), 2)]
        every = max(1, -(-len(pairs) // limit))
        kept += [pair for group in twins[::every] for pair in group]
    return replace(task, pairs=tuple(kept))


def run_task(name: str, args: argparse.Namespace) -> None:
    """Computes the rows of one task that are not in the file yet."""
    from circuit_tui.core.evaluation.evaluator import Evaluator
    from circuit_tui.core.opening.experiment import open_experiment
    from circuit_tui.core.opening.request import OpenRequest
    from circuit_tui.core.opening.tokenized_task import task_of
    from circuit_tui.core.runs.run_one import run_one
    from circuit_tui.core.tasks.prompts_file import write_prompts

    rows = Rows(args.folder / f"{name}.jsonl")
    shared = {"task": name, "prompts": args.prompts, "steps": args.steps}
    wanted = list(specs(args.methods.split(","), map(float, args.lambdas.split(",")), args.target, args.steps))
    request = OpenRequest(model=args.model, task=name)
    with tempfile.TemporaryDirectory() as folder:
        if args.prompts is not None:
            path = Path(folder) / f"{name}.jsonl"
            path.write_text(write_prompts(fewer(task_of(request)[0], args.prompts)))
            request = replace(request, task=None, prompts=path)
        started, used = time.monotonic(), cpu_seconds()
        experiment = open_experiment(request)
    opened = {"seconds": time.monotonic() - started, "cpu": cpu_seconds() - used, "peak_mb": peak()}
    if not rows.has({"kind": "opening", "label": "", **shared}):
        rows.add({"kind": "opening", "label": "", **shared, **opened, "candidates": len(experiment.problem.space)})
    unseen = Evaluator(experiment.problem, "unseen") if "unseen" in experiment.problem.splits else None
    for label, spec in wanted:
        asked: Row = {"kind": "search", "label": label, **shared}
        if not rows.has(asked):
            started, used = time.monotonic(), cpu_seconds()
            record = run_one(experiment, spec)
            row = asked | {"seconds": time.monotonic() - started, "cpu": cpu_seconds() - used, "peak_mb": peak()}
            kept = kept_of(experiment.problem.space, record.nodes)
            row |= {
                "nodes": record.size, "reached": record.reached, "train": record.train.faithfulness,
                "test": record.test.faithfulness, "kl": record.test.kl, "accuracy": record.test.accuracy,
                "kl_empty": float(experiment.test.baselines.empty.kl.mean()),
                "unseen": None if unseen is None else unseen.faithfulness(kept).result(),
                "n": [len(experiment.train), len(experiment.test), 0 if unseen is None else len(unseen)],
                "points": [(point.size, point.test) for point in record.points],
                "which": record.nodes,
            }  # fmt: skip
            rows.add(row)
        nodes = next(row["which"] for row in rows.rows if key(row) == key(asked))
        kept = kept_of(experiment.problem.space, [tuple(node) for node in nodes])
        if method_is_default(label) and not rows.has({**asked, "kind": "toggle"}):
            rows.add({**asked, "kind": "toggle", **toggles(experiment, kept)})
        if args.audit and nodes and not rows.has({**asked, "kind": "audit"}):
            rows.add({**asked, "kind": "audit", **audited(experiment, kept, spec)})


def method_is_default(label: str) -> bool:
    """Whether `label` is that of the default search."""
    return label == "mask"


def peak() -> int:
    """The largest memory of this process so far, MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


def kept_of(space: Any, nodes: Iterable[tuple[int, int, int]]) -> Any:
    """The circuit `[node]` bool of nodes (site, position, latent)."""
    import torch

    wanted = set(nodes)
    return torch.tensor([node in wanted for node in space.coordinates()])


def audited(experiment: Any, kept: Any, spec: Any) -> Row:
    """The verdicts of an audit without searches."""
    from circuit_tui.core.audit.open_audit import open_audit
    from circuit_tui.core.audit.settings import AuditSettings
    from circuit_tui.core.circuits.provenance import Provenance

    provenance = Provenance(method=spec.method, target=spec.target, seed=spec.seed, settings=spec.settings)
    audit = open_audit(experiment, kept, provenance, AuditSettings(seeds=0, resamplings=0, shuffles=0))
    started = time.monotonic()
    for _ in audit:
        pass
    verdicts = {finding.title: finding.verdict for finding in audit.findings}
    says = {finding.title: finding.says for finding in audit.findings if finding.verdict in ("bad", "doubtful")}
    audit.done()
    return {"outcome": audit.result.outcome, "verdicts": verdicts, "says": says, "seconds": time.monotonic() - started}


def toggles(experiment: Any, kept: Any) -> Row:
    """CPU seconds that the exact value of a toggle takes on the test prompts: median and largest of ten nodes."""
    from statistics import median

    from circuit_tui.core.evaluation.live_circuit import LiveCircuit

    live, times = LiveCircuit(experiment.test, kept), list[float]()
    for node in kept.nonzero()[:, 0].tolist()[:10]:
        used = cpu_seconds()
        live.evaluate_first_toggled([node]).result()
        times.append(cpu_seconds() - used)
    return {"exact_median": median(times), "exact_most": max(times), "n_test": len(experiment.test)}


def needed(points: Iterable[tuple[int, float]], level: float) -> int | None:
    """The nodes of the smallest circuit whose held-out score, 1 - |1 - f|, is at least `level`."""
    return min((size for size, value in points if 1 - abs(1 - value) >= level), default=None)


def best_of(rows: list[Row], target: float) -> Row:
    """Of the searches of one method with several settings: the smallest whose held-out score reaches the target.

    Else the one with the highest score. Its points are those of all.
    """
    enough = [row for row in rows if 1 - abs(1 - row["test"]) >= target]
    best = min(enough, key=lambda row: row["nodes"]) if enough else max(rows, key=lambda row: 1 - abs(1 - row["test"]))
    return {**best, "points": [point for row in rows for point in [*row["points"], (row["nodes"], row["test"])]]}


def tables(rows: list[Row], target: float) -> Iterator[str]:
    """The tables of all rows, line by line."""
    levels = " / ".join(map(str, LEVELS))
    yield (
        f"| task | method | pairs: search, held-out | nodes for {levels} | nodes | search f | held-out f | unseen f "
        "| KL (∅) | CPU s | MB |"
    )
    yield "|---|---|---|---|--:|--:|--:|--:|---|--:|--:|"
    searches = [row for row in rows if row["kind"] == "search"]
    for task in dict.fromkeys(row["task"] for row in searches):
        for method in METHODS:
            own = [row for row in searches if row["task"] == task and row["label"].split()[0] == method]
            for prompts in dict.fromkeys((row["prompts"], row["steps"]) for row in own):
                row = best_of([each for each in own if (each["prompts"], each["steps"]) == prompts], target)
                levels = " / ".join(str(needed(row["points"], level) or "–") for level in LEVELS)
                missed = "" if row["reached"] else " (missed)"
                unseen = "–" if row["unseen"] is None else f"{row['unseen']:.3f}"
                steps = "" if row["steps"] is None else f", {row['steps']} steps"
                yield (
                    f"| `{task}` | `{row['label']}`{steps} | {row['n'][0]}, {row['n'][1]} | {levels} | "
                    f"{row['nodes']}{missed} | {row['train']:.3f} | {row['test']:.3f} | {unseen} | "
                    f"{row['kl']:.2f} ({row['kl_empty']:.2f}) | {row['cpu']:.0f} | {row['peak_mb']} |"
                )
    yield ""
    yield "| task | method | together | bad | doubtful |\n|---|---|---|---|---|"
    for row in rows:
        if row["kind"] == "audit":
            bad, doubtful = (
                ", ".join(title for title, verdict in row["verdicts"].items() if verdict == which) or "–"
                for which in ("bad", "doubtful")
            )
            yield f"| `{row['task']}` | `{row['label']}` | {row['outcome']} | {bad} | {doubtful} |"
    yield ""
    yield "| task | opening, CPU s | MB | exact value of a toggle, CPU s: median, most |\n|---|--:|--:|---|"
    for row in rows:
        if row["kind"] == "opening":
            of = [
                each
                for each in rows
                if each["kind"] == "toggle" and key({**each, "kind": "opening", "label": ""}) == key(row)
            ]
            toggle = f"{of[0]['exact_median']:.2f}, {of[0]['exact_most']:.2f} on {of[0]['n_test']}" if of else "–"
            yield f"| `{row['task']}` | {row['cpu']:.0f} | {row['peak_mb']} | {toggle} |"


def main() -> int:
    """Parses the flags, computes what is missing, prints the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="smollm2-135m")
    parser.add_argument(
        "--tasks", default=",".join(f"smollm2-{name}" for name in ("sva", "pronoun", "capital", "opposite", "ioi"))
    )
    parser.add_argument("--methods", default=",".join(METHODS))
    parser.add_argument("--lambdas", default="0.02,0.1,0.5")
    parser.add_argument("--target", type=float, default=0.95)
    parser.add_argument("--prompts", type=int, help="so many search and held-out pairs; all if not given")
    parser.add_argument("--steps", type=int, help="steps of every optimisation; the method's own if not given")
    parser.add_argument("--audit", action="store_true", help="audit every circuit too, without searches")
    parser.add_argument("--folder", type=Path, default=Path(".demo-cache/real"))
    parser.add_argument("--table", action="store_true")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    args = parser.parse_args()
    args.folder.mkdir(parents=True, exist_ok=True)
    if args.one is not None:
        run_task(args.one, args)
        return 0
    failed = []
    for name in [] if args.table else args.tasks.split(","):
        done = subprocess.run([sys.executable, *sys.argv, "--one", name], check=False)
        failed += [name] if done.returncode else []
    rows = [row for name in args.tasks.split(",") for row in read_rows(args.folder / f"{name}.jsonl")]
    print("\n".join(tables(rows, args.target)))
    if failed:
        print(f"ended with an error: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
