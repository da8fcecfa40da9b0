"""``circuit-tui explore``: the explorer on any model, SAEs and task."""

from __future__ import annotations

from typing import Annotated

import typer

from circuit_tui.core.models.presets import preset_of
from circuit_tui.core.opening.request import OpenRequest
from circuit_tui.core.search.registry import DEFAULT_METHOD, DEFAULT_TARGET
from circuit_tui.core.search.registry import method as known_method
from circuit_tui.core.search.spec import SearchSpec
from circuit_tui.tui.commands import options
from circuit_tui.tui.commands.boundary import DONE, log_path
from circuit_tui.tui.commands.memory_text import print_plan
from circuit_tui.tui.commands.opening import Opening, opening_flags
from circuit_tui.tui.commands.start import open_explorer
from circuit_tui.tui.explorer_options import ExplorerOptions


@opening_flags()
def explore(
    opening: Opening,
    method: options.Method = DEFAULT_METHOD,
    target: options.Target = DEFAULT_TARGET,
    seed: options.Seed = 0,
    out: options.Out = None,
    force: options.Force = False,
    text: options.Text = None,
    pick: Annotated[bool, typer.Option("--pick", help="Pick model, SAEs, layers and task in a form.")] = False,
    low_bandwidth: Annotated[bool, typer.Option("--low-bandwidth", help="Fewer bytes, for a slow line.")] = False,
    no_mouse: Annotated[bool, typer.Option("--no-mouse", help="Leave the mouse to the terminal.")] = False,
    theme: Annotated[str | None, typer.Option(metavar="NAME", help="Colours: dark, light or ansi.")] = None,
    memory: options.Memory = False,
    debug: options.Debug = False,
) -> int:
    """Open the explorer on any model, SAEs and task.

    What is not named is taken from the bundled demo, or from the defaults of a known model. If a model has no default
    SAEs or task, the form of --pick opens first.
    """
    request = opening.request(seed)
    if memory:
        return print_plan(request, json=False, debug=debug)
    spec = SearchSpec(known_method(method).name, target, seed)
    if out is not None:
        options.check_out(out)
    options.check_text(text)
    if pick or needs_picking(request):
        from circuit_tui.tui import picker  # Textual comes with it

        picked = picker.pick(request, theme=theme, mouse=not no_mouse, log_path=log_path())
        if picked is None:
            return DONE
        request = picked
    start_with = ExplorerOptions(low_bandwidth, theme, out, spec.target, spec.method, spec.seed, text, force)
    return open_explorer(request, start_with, mouse=not no_mouse)


def needs_picking(request: OpenRequest) -> bool:
    """Whether `request` names a model but not everything that is needed to open it."""
    if request.model is None or request.circuit is not None or preset_of(request.model) is not None:
        return False
    return not (request.saes or request.sae_dirs) or (request.task is None and request.prompts is None)
