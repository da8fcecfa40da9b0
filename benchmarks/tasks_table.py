"""What the demo can do before any search: a table for each built-in task, in Markdown.

    python benchmarks/tasks_table.py [--tasks a,b]

On the test prompts: accuracy of the model, mean logit difference of the model (M), of the model with every SAE spliced
in (M_s) and of the empty circuit, and the faithfulness of M_s against M. On the prompts of another template: accuracy.
"""

from __future__ import annotations

import argparse
import sys

from circuit_tui.core.evaluation.evaluator import Evaluator
from circuit_tui.core.opening.request import OpenRequest
from circuit_tui.core.session.session import Session, open_session
from circuit_tui.core.tasks import builtin as tasks

HEAD = (
    "task",
    "prompts: train / test / unseen",
    "candidates",
    "accuracy",
    "LD M",
    "LD M_s",
    "LD empty",
    "M_s faithful",
)


def row(session: Session) -> tuple[str, ...]:
    """The line of one task."""
    reference, problem = session.info.test, session.problem
    sizes = " / ".join(str(len(problem.task.split(split))) for split in ("train", "test", "unseen"))
    unseen = "–"
    if "unseen" in problem.splits:
        baselines = Evaluator(problem, "unseen").baselines
        unseen = f"{baselines.summarise(baselines.plain).accuracy:.1%}"
    return (
        f"`{problem.task.name}`",
        sizes,
        str(len(session.table)),
        f"{reference.plain.accuracy:.1%}",
        f"{reference.plain.logit_diff:.2f}",
        f"{reference.spliced.logit_diff:.2f}",
        f"{reference.empty.logit_diff:.2f}",
        f"{reference.spliced.faithfulness:.3f}",
        unseen,
    )


def main() -> int:
    """Parses the command line and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", default=",".join(tasks.names()))
    args = parser.parse_args()
    print(f"| {' | '.join(HEAD)} | accuracy, unseen |")
    print("|---|---|" + "--:|" * (len(HEAD) - 1))
    for name in args.tasks.split(","):
        print(f"| {' | '.join(row(open_session(OpenRequest(task=name))))} |", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
