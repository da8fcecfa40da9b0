"""Runs `circuit-tui` in a process that kills itself, as the kernel would, in the middle of a stage of its search.

Arguments: the stage, then those of the command line.
"""

import os
import signal
import sys

from circuit_tui.core.jobs import autosave
from circuit_tui.tui.cli import main


def run() -> int:
    stage, *command = sys.argv[1:]
    autosave.SAVE_EVERY = autosave.REPORT_EVERY = 0.0
    real, taken = autosave.Autosave.step, []

    def counted(self, report):
        real(self, report)
        taken.append(report.stage)
        if taken.count(stage) == 15:
            print(f"killed at step {report.step}", file=sys.stderr, flush=True)
            os.kill(os.getpid(), signal.SIGKILL)

    autosave.Autosave.step = counted
    return main(command)


if __name__ == "__main__":
    sys.exit(run())
