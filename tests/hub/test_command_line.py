"""The shortest command line there is, in a process of its own that knows the Hub by its environment alone."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from releases import RELEASES, serve
from server import TOKEN, Hub
from tiny.models_with_saes import TinyModel
from tiny.sessions import write_prompts
from tiny.solvable_task import solvable_task

from circuit_tui.core.saes.choose_saes import choose_saes
from circuit_tui.core.saes.sae_filter import ALL_SITES

USER = Path(__file__).with_name("tiny_user.py")


@pytest.mark.slow
def test_a_model_s_name_is_enough(shared_hub: Hub, tmp_path: Path) -> None:
    one, hub = RELEASES["gemma2"], shared_hub
    names = choose_saes((), ALL_SITES, one.model)
    serve(hub, one, [name.partition(":")[2] for name in names], tmp_path, layers=26, gated=True)
    tiny_model: Any = TinyModel(tmp_path / "model", (), None, ())  # type: ignore[arg-type]
    prompts = write_prompts(solvable_task(tiny_model, (6,) * 6, (6,) * 4), tmp_path / "able.jsonl")
    weights = next(path for path in hub.repos["google/gemma-scope-2b-pt-res"].files if "layer_13/" in path)
    hub.cut = {weights: [1500], "model.safetensors": [20_000, 0]}

    def run(*args: object, **environment: str) -> subprocess.CompletedProcess[str]:
        known = {key: value for key, value in os.environ.items() if not key.startswith("HF_")}
        known |= {"HF_ENDPOINT": hub.url, "HF_HOME": str(tmp_path / "home"), "OMP_NUM_THREADS": "1", **environment}
        line = [sys.executable, str(USER), *map(str, args)]
        return subprocess.run(line, capture_output=True, text=True, env=known, check=False)

    out = tmp_path / "c.json"
    find = ("find", "--model", one.model, "--prompts", prompts, "--errors", "keep", "--positions", "shared")
    quick = ("--method", "hard-concrete", "--set", "size=4", "--set", "steps=2")
    done = run(*find, *quick, "--out", out, HF_TOKEN=TOKEN)
    assert done.returncode in (0, 1), done.stderr
    assert "connection lost, trying again: downloading google/gemma-2-2b model.safetensors" in done.stderr
    assert " MB of " in done.stderr or " KB of " in done.stderr
    circuit = json.loads(out.read_text())
    assert circuit["model"]["name"] == "google/gemma-2-2b"
    assert [site["hook"] for site in circuit["sites"]] == [f"blocks.{n}.hook_resid_post" for n in (4, 8, 13, 24)]
    assert hub.sent["model.safetensors"] == 20_000 + len(hub.repos["google/gemma-2-2b"].files["model.safetensors"])
    # No token, no network: what is on the disk is enough.
    hub.requests.clear()
    again = run("check", out, HF_HUB_OFFLINE="1")
    assert again.returncode == 0, again.stderr
    assert not hub.requests
