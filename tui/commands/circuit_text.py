"""A circuit file as readable tables."""

from __future__ import annotations

from circuit_tui.core.circuits.schema import CircuitFile
from circuit_tui.tui.commands.output import number, print_line, print_table

_NODE_COLUMNS = ("position", "latent", "clean", "corrupt", "max", "freq", "effect", "label")
_NUMBERS = ("latent", "clean", "corrupt", "max", "freq", "effect", "nodes")
_METRICS = (
    ("faithfulness vs M", "faithfulness"),
    ("faithfulness vs M_s", "faithfulness_spliced"),
    ("completeness", "completeness"),
    ("KL to M (nats)", "kl"),
    ("accuracy", "accuracy"),
    ("logit difference", "logit_diff"),
    ("cross-entropy (nats)", "cross_entropy"),
)


def print_circuit(file: CircuitFile) -> None:
    """Print the circuit site by site, then its metrics and its warnings."""
    print_line(f"{file.model.name} · task {file.task.name} · {_found(file)}")
    print_line(
        f"{file.size} nodes · ablation {file.ablation.kind} ({file.ablation.source}), SAE errors {_errors(file)}"
    )
    for site in file.sites:
        print_line()
        print_line(f"{site.hook} · {len(site.nodes)} nodes", style="bold")
        rows = [
            (
                node.position,
                str(node.latent),
                number(node.stats.mean_clean, 2),
                number(node.stats.mean_corrupt, 2),
                number(node.stats.max, 2),
                number(node.stats.frequency, 2),
                number(node.stats.effect),
                node.label,
            )
            for node in sorted(site.nodes, key=lambda node: -(node.stats.effect or 0.0))
        ]
        if rows:
            print_table(_NODE_COLUMNS, rows, right=_NUMBERS)
    print_line()
    print_metrics(file)
    if file.objectives:
        print_line()
        print_objectives(file)
    for warning in file.method.warnings:
        print_line(f"warning: {warning}", style="yellow")


def print_metrics(file: CircuitFile) -> None:
    """Print the metrics of the circuit on train and test, and of M, M_s and the empty circuit on test."""
    metrics = file.metrics
    parts = (metrics.train, metrics.test, metrics.plain, metrics.spliced, metrics.empty)
    columns = (f"train ({file.task.n_train})", f"test ({file.task.n_test})", "M", "M_s", "empty")
    rows = [(title, *(number(getattr(part, key)) for part in parts)) for title, key in _METRICS]
    rows.insert(1, ("its 95% interval over prompts", *(_range(part.faithfulness_interval) for part in parts)))
    rows.append(("error per prompt, IQR", *(_range(part.per_prompt_iqr, 2) for part in parts)))
    print_table(("", *columns), rows, right=columns)


def print_objectives(file: CircuitFile) -> None:
    """Print what the search had to hold, one value in a row: 1 is the model, 0 the empty circuit."""
    rows = [
        (
            objective.kind,
            number(objective.target - (file.ablation.slack if value.ablation != file.ablation.kind else 0), 2),
            value.ablation,
            value.template or "all",
            number(value.train),
            number(value.test),
        )
        for objective in file.objectives
        for value in objective.values
    ]
    columns = ("held", "target", "ablation", "prompts", "train", "test")
    print_table(columns, rows, right=("target", "train", "test"))


def _found(file: CircuitFile) -> str:
    method = file.method
    if method.target is None:
        return method.name
    reached = "reached" if method.reached else "not reached"
    return f"{method.name}, seed {file.seed}, target {method.target:g} {reached} on the search prompts"


def _errors(file: CircuitFile) -> str:
    return {"drop": "dropped", "mean": "replaced by their mean", "keep": "kept"}[file.ablation.errors]


def _range(ends: tuple[float, float] | None, decimals: int = 3) -> str:
    return "" if ends is None else " … ".join(number(value, decimals) for value in ends)
