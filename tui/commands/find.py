"""``circuit-tui find``: the search without a screen."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator
from types import FrameType
from typing import TYPE_CHECKING

from circuit_tui.core.request import OpenRequest
from circuit_tui.core.search.registry import DEFAULT_METHOD, DEFAULT_TARGET
from circuit_tui.tui.commands import options, output, progress
from circuit_tui.tui.commands.boundary import DONE, INTERRUPTED, NO

if TYPE_CHECKING:
    from circuit_tui.core.circuit_file import CircuitFile
    from circuit_tui.core.search.search import Search
    from circuit_tui.core.snapshot import SearchResult


def find(
    model: options.Model = None,
    sae: options.Sae = None,
    layers: options.Layers = None,
    every: options.Every = None,
    width: options.Width = None,
    l0: options.L0 = None,
    sae_dir: options.SaeDir = None,
    task: options.TaskName = None,
    prompts: options.Prompts = None,
    circuit: options.Circuit = None,
    positions: options.Positions = None,
    ablation: options.Ablation = None,
    errors: options.Errors = None,
    device: options.Device = None,
    dtype: options.Dtype = None,
    batch: options.Batch = None,
    method: options.Method = DEFAULT_METHOD,
    target: options.Target = DEFAULT_TARGET,
    seed: options.Seed = 0,
    settings: options.Settings = None,
    out: options.Out = None,
    json: options.Json = False,
    debug: options.Debug = False,
) -> int:
    """Search without a screen.

    Progress goes to stderr, the circuit to stdout. Exits 1 if the target was not reached on the search prompts.

    Ctrl-C stops the search and keeps what it has found so far; a second one leaves at once.
    """
    request = options.open_request(
        model=model,
        sae=sae,
        layers=layers,
        every=every,
        width=width,
        l0=l0,
        sae_dir=sae_dir,
        task=task,
        prompts=prompts,
        circuit=circuit,
        positions=positions,
        ablation=ablation,
        errors=errors,
        device=device,
        dtype=dtype,
        batch=batch,
        seed=seed,
    )
    chosen = options.search_choice(method, target, seed, settings)
    if out is not None:
        options.check_out(out)
    with output.quiet(debug=debug):
        file, result = search(request, chosen)
        if out is not None:
            from circuit_tui.core.circuit_file import write_circuit

            progress.say(f"wrote {write_circuit(file, out)}")
    if json:
        output.print_json(file.data())
    else:
        from circuit_tui.tui.commands.circuit_text import print_circuit

        print_circuit(file)
    if result.stopped:
        progress.say("interrupted: this is what the search had when it was stopped")
        return INTERRUPTED
    return DONE if result.reached else NO


def search(request: OpenRequest, chosen: options.SearchChoice) -> tuple[CircuitFile, SearchResult]:
    """Opens what is asked for and searches it.

    Raises:
        UserError: what is asked for cannot be opened, or is not worth searching.
    """
    progress.say("loading …")
    from circuit_tui.core.circuit_export import circuit_file
    from circuit_tui.core.session import open_session

    session = open_session(request, progress.loading)
    for warning in session.info.warnings:
        progress.say(f"warning: {warning}")
    running = session.search(chosen.method, chosen.target, chosen.seed, chosen.settings)
    result = _run(running)
    session.adopt(result)
    if not result.stopped:
        progress.say("computing the effect of every node")
        progress.finish(session)
    return circuit_file(session), result


def _run(running: Search) -> SearchResult:
    """Runs a search to its end, or to where Ctrl-C stops it."""
    with progress.SearchBar() as bar, _stops_on_interrupt(running):
        for step in running:
            bar.show(step)
    if running.result is None:
        raise RuntimeError("the search ended without a result")
    return running.result


@contextlib.contextmanager
def _stops_on_interrupt(running: Search) -> Iterator[None]:
    """The first Ctrl-C asks the search to stop, which leaves it whole; the second raises KeyboardInterrupt."""

    def stop(number: int, frame: FrameType | None) -> None:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        running.stop()

    before = signal.signal(signal.SIGINT, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
