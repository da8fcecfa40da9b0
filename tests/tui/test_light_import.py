"""The first frame must not wait for torch: importing the explorer imports none of the heavy libraries."""

from __future__ import annotations

import subprocess
import sys

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
        "import circuit_tui.tui.app, circuit_tui.tui.engine, circuit_tui.tui.session_protocol\n"
        f"print([name for name in {HEAVY} if name in sys.modules])\n"
        "print(os.environ['TEXTUAL_FPS'])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split("\n")[:2] == ["[]", "120"]
