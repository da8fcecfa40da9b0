"""The command line: ``circuit-tui`` and its commands, each in a file of `commands`.

Nothing heavy is imported here: the first frame of the explorer waits for every import. A bare ``circuit-tui`` does not
even load the command-line parser.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from circuit_tui.tui.commands.boundary import guarded


def main(args: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code; `commands.boundary` lists the codes."""
    # Threads that spin while they wait starve the screen and every other program on the machine. OpenMP reads this when
    # torch is loaded. A step is as fast on an idle machine, and several times faster on a busy one.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    given = list(sys.argv[1:] if args is None else args)
    return guarded(lambda: _run(given), debug="--debug" in given)


def _run(args: list[str]) -> int:
    if not args:
        from circuit_tui.core.opening.request import OpenRequest
        from circuit_tui.tui.commands.start import open_explorer

        return open_explorer(OpenRequest())
    from circuit_tui.tui.commands.parser import parse

    return parse(args)
