"""``circuit-tui edges``: which node of a circuit feeds which, through which heads, and which edges are needed."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from circuit_tui.core.errors import UserError
from circuit_tui.tui.commands import options, output, progress
from circuit_tui.tui.commands.boundary import DONE, NO
from circuit_tui.tui.commands.open_file import request_for
from circuit_tui.tui.commands.opening import Reopening, reopening_flags

if TYPE_CHECKING:
    from collections.abc import Sequence

    from circuit_tui.core.attribution.score_parts import EdgeScore
    from circuit_tui.core.circuits.schema import CircuitFile
    from circuit_tui.core.edges.edge_table import CircuitEdges
    from circuit_tui.core.edges.eliminate import EdgeSearch
    from circuit_tui.core.edges.view import EdgesView, EdgeView
    from circuit_tui.core.opening.experiment import Experiment
    from circuit_tui.core.opening.request import OpenRequest
    from circuit_tui.core.prompting.report import FreePrompt

PAIRS = 12
"""How many pairs of a score are listed."""
_NUMBERS = ("edge", "±", "total", "metric", "|edge|", "past heads", "rest")


@reopening_flags
def edges(
    file: Annotated[Path, typer.Argument(metavar="FILE.json", help="The circuit file.")],
    node: Annotated[
        str | None, typer.Option(metavar="L1/412@subject", help="Only what feeds it and what it feeds.")
    ] = None,
    top: Annotated[
        int, typer.Option(min=1, metavar="N", help="How many edges to show, with their effect on the metric.")
    ] = 20,
    everything: Annotated[bool, typer.Option("--all", help="All edges, each with its effect on the metric.")] = False,
    edge_target: options.EdgeTarget = None,
    on: Annotated[str | None, typer.Option(metavar="PROMPT", help="On this prompt, not on the test prompts.")] = None,
    roles: Annotated[str | None, typer.Option(metavar="WORDS", help="The position of each of its words.")] = None,
    answer: Annotated[
        str | None, typer.Option(metavar="TEXT", help="Its right answer, with the leading space.")
    ] = None,
    wrong: Annotated[str | None, typer.Option(metavar="TEXT", help="Its wrong answer, with the leading space.")] = None,
    why: Annotated[
        str | None, typer.Option(metavar="L0/88@noun", help="Why a head looks from --node to this source.")
    ] = None,
    head: Annotated[
        str | None, typer.Option(metavar="BLOCK.HEAD", help="Of --why: which head. [the strongest]")
    ] = None,
    graph: Annotated[bool, typer.Option("--graph", help="Draw the strongest edges in place of the table.")] = False,
    out: options.Out = None,
    force: options.Force = False,
    *,
    reopening: Reopening,
    json: options.Json = False,
    debug: options.Debug = False,
) -> int:
    """Compute the edges of a circuit: what each node gives to each other, exactly, and through which heads.

    With --edge-target, the edges that are not needed are dropped; exits 1 if the circuit of the nodes itself misses the
    target. --out writes the circuit file with its edges.
    """
    from circuit_tui.core.circuits.circuit_file import read_circuit
    from circuit_tui.core.prompting.report import FreePrompt

    if edge_target is not None:
        options.edge_target(edge_target)
    if why is not None and node is None:
        raise UserError("--why: name the target of the edge with --node")
    if head is not None and why is None:
        raise UserError("--head: only with --why")
    if on is None and (roles or answer or wrong):
        raise UserError("--roles, --answer and --wrong describe the prompt of --on")
    if on is not None and (edge_target is not None or out is not None):
        raise UserError("--on: --edge-target and --out need the task's prompts; leave --on out")
    asked = None if on is None else FreePrompt(on, tuple((roles or "").split()), answer, wrong)
    if asked is not None:
        asked.check()
    request = reopening.request()
    claimed = read_circuit(file)
    with options.claimed_out(out, force=force), output.quiet(debug=debug):
        experiment = _open(claimed, request_for(claimed, request, file.expanduser().parent))
        computed, search = _compute(experiment, file, claimed, asked, edge_target)
        found = None
        if why is not None and node is not None:
            found = _score(computed, _end(computed, "--why", why), _end(computed, "--node", node), head)
        chosen = _chosen(computed, node)
        shown = chosen if everything else chosen[:top]
        if (found is None or out is not None) and (asked is None or asked.answer is not None):
            progress.say("computing effects on the metric")
            computed.compute_metric([(edge.source, edge.target) for edge in shown]).result()
        by_ends = {(edge.source, edge.target): edge for edge in computed.view.edges}
        shown = sorted((by_ends[edge.source, edge.target] for edge in shown), key=lambda edge: -edge.strength)
        if out is not None:
            from circuit_tui.core.outputs.output_file import check_output

            check_output(out, force=force)  # someone may have put a file there in the meantime
            _write(claimed, computed, search, out)
    if found is not None:
        _print_why(file, computed, found, json=json)
        return DONE
    if graph and not json:
        _draw(computed.view)
    elif json:
        output.print_json(_data(file, computed, shown, search))
    else:
        _print(computed.view, shown, len(chosen), search)
    return NO if search is not None and not search.reached else DONE


def _open(file: CircuitFile, request: OpenRequest) -> Experiment:
    progress.say("loading …")
    from circuit_tui.core.opening.float32 import open_float32

    return open_float32(request, progress.loading, file)


def _compute(
    experiment: Experiment, path: Path, file: CircuitFile, asked: FreePrompt | None, edge_target: float | None
) -> tuple[CircuitEdges, EdgeSearch | None]:
    from circuit_tui.core.edges.edge_table import CircuitEdges, labels_of
    from circuit_tui.core.edges.eliminate import eliminate_edges
    from circuit_tui.core.evaluation.evaluator import Evaluator
    from circuit_tui.core.opening.open_circuit import open_circuit
    from circuit_tui.core.prompting.prompt_problem import problem_on

    kept, evaluator, answered = open_circuit(path, experiment.opened).kept, experiment.test, True
    if asked is not None:
        evaluator, answered = Evaluator(problem_on(experiment.opened, asked), "test"), asked.answer is not None
    computed = CircuitEdges(evaluator, kept, labels_of(file, experiment.problem), answered=answered)
    progress.say(f"computing {computed.space.n_edges} edges")
    computed.compute().result()
    if edge_target is None:
        return computed, None
    progress.say("dropping edges")
    search = eliminate_edges(experiment.train, experiment.test, kept, edge_target).result()
    computed.set_edges(search.kept).result()
    return computed, search


def _chosen(computed: CircuitEdges, node: str | None) -> list[EdgeView]:
    """The edges to show, strongest first: those of one node, or all."""
    view = computed.view
    if node is None:
        return list(view.strongest())
    end = _end(computed, "--node", node)
    return [edge for edge in view.strongest() if end in (edge.source, edge.target)]


def _end(computed: CircuitEdges, flag: str, node: str) -> int:
    """The number of the end that is called `node`."""
    wanted = node.replace("/", " ").strip().lower()
    names = [end.name for end in computed.view.ends]
    found = [number for number, name in enumerate(names) if name.lower() == wanted]
    if not found:
        raise UserError(f"{flag} {node}: the circuit has no such node; it has {', '.join(names[:8])}, …")
    return found[0]


def _score(computed: CircuitEdges, source: int, target: int, head: str | None) -> EdgeScore:
    """Why a head that carries an edge looks there."""
    from circuit_tui.core.attribution.edge_score import edge_score
    from circuit_tui.core.attribution.head_score import parse_head

    return edge_score(computed, source, target, None if head is None else parse_head(head), PAIRS)


def _print_why(path: Path, computed: CircuitEdges, found: EdgeScore, *, json: bool) -> None:
    from circuit_tui.tui.commands.score_table import print_score

    ends = computed.view.ends
    if json:
        names = {"source": ends[found.source].name, "target": ends[found.target].name}
        output.print_json({"file": str(path), "split": computed.view.split, **asdict(found), **names})
        return
    output.print_line(
        f"{ends[found.source].name} to {ends[found.target].name}, on {computed.view.split} prompt {found.prompt}:"
    )
    output.print_line(" ".join(f"{index}:{text.strip() or text!r}" for index, text in enumerate(found.tokens)))
    output.print_line("heads: " + " ".join(f"{block}.{number}" for block, number in found.heads))
    output.print_line()
    print_score(found.score, found.tokens, [site.short for site in computed.evaluator.problem.sites])


def _write(file: CircuitFile, computed: CircuitEdges, search: EdgeSearch | None, out: Path) -> None:
    from circuit_tui.core.circuits.circuit_file import write_circuit
    from circuit_tui.core.edges.file_part import edges_part

    part = edges_part(computed, search).result()
    progress.say(f"wrote {write_circuit(file.model_copy(update={'edges': part}), out)}")


def _data(path: Path, computed: CircuitEdges, shown: Sequence[EdgeView], search: EdgeSearch | None) -> dict[str, Any]:
    from circuit_tui.core.edges.agreement import agreement

    view = computed.view
    found = agreement(view)
    worst = None if found.worst is None else {"source": found.worst.source, "target": found.worst.target}
    return {
        "file": str(path),
        "split": view.split,
        "n_prompts": view.n_prompts,
        "ends": [asdict(end) for end in view.ends],
        "n_edges": len(view.edges),
        "edges": [_edge_data(edge) for edge in shown],
        "faithfulness": view.nodes_faithfulness,
        "agreement": {
            "frozen": found.frozen,
            "metric": found.metric,
            "worst": worst,
            "worst_share": found.worst_share,
        },
        "edge_circuit": None if search is None else _search_data(search),
    }


def _edge_data(edge: EdgeView) -> dict[str, Any]:
    pairs = {name: getattr(edge, name)._asdict() for name in ("edge", "total", "activation", "frozen")}
    return {
        **asdict(edge),
        **pairs,
        "metric": None if edge.metric is None else edge.metric._asdict(),
        "heads": [head._asdict() for head in edge.heads],
        "rest": edge.rest,
        "aligned_rest": edge.aligned_rest,
    }


def _search_data(search: EdgeSearch) -> dict[str, Any]:
    names = ("n_possible", "target", "reached", "train", "test", "nodes_train", "nodes_test", "unconnected_test")
    return {
        "size": int(search.kept.sum()),
        "kept": search.kept.nonzero().tolist(),
        **{name: getattr(search, name) for name in names},
        "frontier": [asdict(point) for point in search.frontier],
    }


def _print(view: EdgesView, shown: Sequence[EdgeView], n_chosen: int, search: EdgeSearch | None) -> None:
    output.print_table(
        ("from", "to", *_NUMBERS[:-1], "heads", _NUMBERS[-1], *(("kept",) if search else ())),
        [_row(view, edge, kept=search is not None) for edge in shown],
        right=_NUMBERS,
    )
    if len(shown) < n_chosen:
        output.print_line(f"and {n_chosen - len(shown)} more; --all shows them")
    output.print_line()
    over = f"{view.n_prompts} {view.split} prompts" if view.n_prompts > 1 else "this prompt"
    whole = "" if view.nodes_faithfulness is None else f", all together faithfulness {view.nodes_faithfulness:.3f}"
    output.print_line(f"{len(view.edges)} edges over {over}{whole}")
    _print_agreement(view)
    if search is None:
        return
    output.print_line(
        f"{int(search.kept.sum())} edges hold {search.train:.3f} on the search prompts, {search.test:.3f} held out "
        f"(target {search.target:g} {'reached' if search.reached else 'not reached'}); "
        f"no node seeing another: {search.unconnected_test:.3f}",
        style="" if search.reached else "bold red",
    )
    output.print_line()
    output.print_table(
        ("edges", "train", "test"),
        [(str(point.size), f"{point.train:.3f}", f"{point.test:.3f}") for point in search.frontier],
        right=("edges", "train", "test"),
    )


def _print_agreement(view: EdgesView) -> None:
    """Print how far attribution may be trusted here."""
    from circuit_tui.core.edges.agreement import agreement

    found = agreement(view)
    if found.frozen is not None and found.worst is not None:
        worst = f"{view.ends[found.worst.source].name} to {view.ends[found.worst.target].name}"
        output.print_line(
            f"frozen part against exact edge: rank correlation {found.frozen:.2f}; worst {worst}, whose rest is "
            f"{found.worst_share:.0%} of all that its target is given"
        )
    if found.metric is not None:
        output.print_line(f"attribution against exact effect on the metric: rank correlation {found.metric:.2f}")


def _draw(view: EdgesView) -> None:
    """Print the graph of the edges of `view`, as wide as the terminal."""
    from circuit_tui.core.edges.graph import edge_graph, first_threshold
    from circuit_tui.core.edges.graph_layout import lay_out
    from circuit_tui.tui.drawing.edge_graph import draw_graph
    from circuit_tui.tui.drawing.styles import pane_styles_for
    from circuit_tui.tui.drawing.themes import DARK

    threshold = first_threshold(edge_graph(view))
    drawn = edge_graph(view, threshold=threshold)
    lines = draw_graph(drawn, lay_out(drawn, output.width(), 0), None, pane_styles_for(DARK, colour=False))
    for line in lines:
        output.print_line(line.text.rstrip())
    output.print_line()
    output.print_line(
        f"{len(drawn.links)} of {drawn.n_links} edges, of at least {threshold:.3g}; a dashed one lowers the answer"
    )


def _row(view: EdgesView, edge: EdgeView, *, kept: bool) -> tuple[str, ...]:
    heads = " ".join(f"{head.block}.{head.head} {head.aligned:+.2f}" for head in edge.heads[:3])
    return (
        view.ends[edge.source].name,
        view.ends[edge.target].name,
        output.number(edge.edge.mean),
        output.number(edge.edge.spread, 2),
        output.number(edge.total.mean),
        output.number(None if edge.metric is None else edge.metric.mean),
        output.number(edge.size),
        output.number(edge.aligned_past_heads),
        heads,
        output.number(edge.aligned_rest),
        *((("yes" if edge.kept else "no"),) if kept else ()),
    )
