"""The first frame does not wait for torch: importing the explorer imports none of the heavy libraries."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

HEAVY = (
    "torch",
    "numpy",
    "transformers",
    "transformer_lens",
    "sae_lens",
    "safetensors",
    "datasets",
    "pandas",
    "jsonschema",
)


def test_importing_the_explorer_imports_nothing_heavy() -> None:
    code = (
        "import sys, os\n"
        "import circuit_tui.tui.app, circuit_tui.tui.engine.engine, circuit_tui.tui.engine.session_protocol\n"
        f"print([name for name in {HEAVY} if name in sys.modules])\n"
        "print(os.environ['TEXTUAL_FPS'])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split("\n")[:2] == ["[]", "120"]


def test_the_first_frame_waits_for_no_pane_and_no_engine() -> None:
    """Importing them takes as long as everything that the first frame needs."""
    code = "import sys, circuit_tui.tui.commands.start, circuit_tui.tui.app\nprint(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    own = {name.removeprefix("circuit_tui.") for name in done.stdout.split() if name.startswith("circuit_tui.")}
    assert "tui.screens.frame" in own
    late = {"tui.engine.engine", "tui.job_control", "tui.screens.explorer", "core.views", "core.saes.registry"}
    assert not late & own


def test_a_job_is_begun_without_reading_a_job(tmp_path: Path) -> None:
    """The explorer only writes its own job. Reading one needs pydantic, which takes a tenth of a second to import."""
    code = (
        "import sys\n"
        "from circuit_tui.core.opening.request import OpenRequest\n"
        "from circuit_tui.tui.engine.engine import Engine\n"
        "from circuit_tui.tui.job_control import explorer_job\n"
        "request = OpenRequest(task='ioi')\n"
        "engine = Engine(request, None, print, '', explorer_job(request))\n"
        "print('pydantic' in sys.modules)\n"
        "print(engine.autosave.job.spec.request.task)\n"
    )
    own = {**os.environ, "XDG_STATE_HOME": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=own)
    assert done.stdout.split() == ["False", "ioi"]
