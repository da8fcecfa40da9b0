"""``circuit-tui doctor``: what this machine offers, and what is missing."""

from __future__ import annotations

import os
import shutil
import sys
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from circuit_tui.tui.commands import options, output
from circuit_tui.tui.commands.boundary import DONE, NO, log_path

if TYPE_CHECKING:
    from circuit_tui.core.machine import Device, Machine

_GIB = 1024**3


def doctor(json: options.Json = False, debug: options.Debug = False) -> int:
    """Say what this machine offers. Exits 1 if a package or a file of the bundled model is missing."""
    from circuit_tui.core.machine import this_machine

    with output.quiet(debug=debug):
        machine = this_machine()
    terminal = _terminal()
    problems = [f"package {name} is not installed" for name, found in machine.packages.items() if found is None]
    problems += [f"{path} is missing: install the package again" for path in machine.missing]
    if json:
        output.print_json({**asdict(machine), "terminal": terminal, "log": str(log_path()), "problems": problems})
    else:
        output.print_table((), _rows(machine, terminal))
        for problem in problems:
            output.print_line(f"problem: {problem}", style="red")
    return NO if problems else DONE


def _rows(machine: Machine, terminal: dict[str, Any]) -> list[tuple[str, str]]:
    size = f"{terminal['columns']}x{terminal['rows']}" if terminal["is_terminal"] else "none"
    colours = "none (NO_COLOR)" if terminal["no_color"] else terminal["colours"]
    return [
        ("python", f"{machine.python} on {machine.system}"),
        *((name, found or "not installed") for name, found in machine.packages.items()),
        ("cores", str(machine.cores)),
        *((device.name, _describe(device)) for device in machine.devices),
        ("terminal", f"{size}, TERM {terminal['term'] or 'unset'}, colours {colours}"),
        ("Hugging Face cache", f"{machine.hub_cache} ({'offline' if machine.hub_offline else 'may download'})"),
        ("bundled model", f"{machine.demo_folder} ({'incomplete' if machine.missing else 'whole'})"),
        ("log", str(log_path())),
    ]


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
