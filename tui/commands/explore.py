"""``circuit-tui explore``: the explorer on any model, SAEs and task."""

from __future__ import annotations

from typing import Annotated

import typer

from circuit_tui.core.search.registry import DEFAULT_METHOD, DEFAULT_TARGET
from circuit_tui.tui.commands import options
from circuit_tui.tui.commands.start import open_explorer


def explore(
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
    out: options.Out = None,
    low_bandwidth: Annotated[bool, typer.Option("--low-bandwidth", help="Fewer bytes, for a slow line.")] = False,
    no_mouse: Annotated[bool, typer.Option("--no-mouse", help="Leave the mouse to the terminal.")] = False,
    theme: Annotated[str | None, typer.Option(metavar="NAME", help="Colours: dark, light or ansi.")] = None,
    debug: options.Debug = False,
) -> int:
    """Open the explorer on anything.

    What is not named is the bundled demo's.
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
    chosen = options.search_choice(method, target, seed, ())
    if out is not None:
        options.check_out(out)
    return open_explorer(
        request,
        low_bandwidth=low_bandwidth,
        mouse=not no_mouse,
        theme=theme,
        out=out,
        target=chosen.target,
        method=chosen.method,
    )
