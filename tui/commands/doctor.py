"""``circuit-tui doctor``: what this machine offers, and what is missing."""

from __future__ import annotations

import os
import shutil
import sys
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from circuit_tui.core.hub.sizes import size_text
from circuit_tui.tui.commands import options, output
from circuit_tui.tui.commands.boundary import DONE, NO, log_path

if TYPE_CHECKING:
    from circuit_tui.core.opening.machine_report import Device, Machine
    from circuit_tui.core.saes.readiness import HubState, ModelState

_GIB = 1024**3


def doctor(json: options.Json = False, debug: options.Debug = False) -> int:
    """Say what this machine offers, what is missing for the models with default SAEs, and how to get it.

    Exits 1 if a package or a file of the bundled model is missing.
    """
    from circuit_tui.core.opening.machine_report import this_machine
    from circuit_tui.core.saes.readiness import advice, hub_state

    with output.quiet(debug=debug):
        machine, hub = this_machine(), hub_state()
    terminal = _terminal()
    problems = [f"package {name} is not installed" for name, found in machine.packages.items() if found is None]
    problems += [f"{path} is missing: install the package again" for path in machine.missing]
    todo = [*_gpu_advice(machine), *advice(hub)]
    if json:
        facts = {**asdict(machine), "hub": asdict(hub), "terminal": terminal, "log": str(log_path())}
        output.print_json({**facts, "problems": problems, "advice": todo})
    else:
        output.print_table((), _rows(machine, hub, terminal))
        output.print_line()
        output.print_table(("--model", "from", "model", "SAEs"), [_model_row(model) for model in hub.models])
        for line in todo:
            output.print_line(f"to do: {line}", style="yellow")
        for problem in problems:
            output.print_line(f"problem: {problem}", style="red")
    return NO if problems else DONE


def _rows(machine: Machine, hub: HubState, terminal: dict[str, Any]) -> list[tuple[str, str]]:
    size = f"{terminal['columns']}x{terminal['rows']}" if terminal["is_terminal"] else "none"
    colours = "none (NO_COLOR)" if terminal["no_color"] else terminal["colours"]
    return [
        ("python", f"{machine.python} on {machine.system}"),
        *((name, found or "not installed") for name, found in machine.packages.items()),
        ("cores", str(machine.cores)),
        *((device.name, _describe(device)) for device in machine.devices),
        ("terminal", f"{size}, TERM {terminal['term'] or 'unset'}, colours {colours}"),
        ("Hugging Face Hub", f"{hub.endpoint}, {_reach(hub)}, {'with a token' if hub.token else 'no token'}"),
        ("Hugging Face cache", f"{hub.cache}, {size_text(hub.free)} free"),
        ("broken-off downloads", _orphans(hub)),
        ("bundled model", f"{machine.demo_folder} ({'incomplete' if machine.missing else 'whole'})"),
        ("log", str(log_path())),
    ]


def _reach(hub: HubState) -> str:
    return "offline" if hub.reachable is None else "answers" if hub.reachable else "does not answer"


def _orphans(hub: HubState) -> str:
    if not hub.orphans:
        return "none"
    size = size_text(sum(orphan.size for orphan in hub.orphans))
    count = "1 file" if len(hub.orphans) == 1 else f"{len(hub.orphans)} files"
    folder = os.path.commonpath([os.path.dirname(orphan.path) for orphan in hub.orphans])
    return f"{count}, {size}, in {folder}"


def _model_row(model: ModelState) -> tuple[str, ...]:
    size = "" if not model.sae_bytes_missing else f", ~{size_text(model.sae_bytes_missing)} to fetch"
    return (
        model.name,
        model.hub if model.package is None else f"package {model.package}",
        "on disk" if model.model_on_disk else "to be fetched, gated" if model.gated else "to be fetched",
        f"{model.saes_on_disk} of {model.saes} on disk{size}",
    )


def _gpu_advice(machine: Machine) -> list[str]:
    """Returns advice if the operating system knows a GPU that this torch does not see."""
    if shutil.which("nvidia-smi") and not any(device.name.startswith("cuda") for device in machine.devices):
        return [
            "there is an NVIDIA driver, but this torch sees no GPU: install a CUDA build of torch "
            "(https://pytorch.org/get-started) in this environment"
        ]
    return []


def _describe(device: Device) -> str:
    if device.memory_total is None or device.memory_free is None:
        return device.description
    free, total = device.memory_free / _GIB, device.memory_total / _GIB
    return f"{device.description}, {free:.1f} of {total:.1f} GiB free"


def _terminal() -> dict[str, Any]:
    size = shutil.get_terminal_size()
    term, deep = os.environ.get("TERM", ""), os.environ.get("COLORTERM", "")
    return {
        "is_terminal": sys.stdout.isatty(),
        "columns": size.columns,
        "rows": size.lines,
        "term": term,
        "colours": "16 million" if deep in ("truecolor", "24bit") else "256" if "256" in term else "16",
        "no_color": bool(os.environ.get("NO_COLOR")),
    }
