"""`--device-map`: the calls of accelerate, memory plans and refusals, and a model on two devices."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny.models_with_saes import CPU
from tiny.sessions import spread_out
from transformer_lens.model_bridge import TransformerBridge

from circuit_tui.core.errors import UserError
from circuit_tui.core.opening.memory_plan import plan_memory
from circuit_tui.core.opening.request import OpenRequest
from circuit_tui.core.runtime import device_memory
from circuit_tui.core.runtime.device_memory import memory_use
from circuit_tui.core.runtime.machine import device_name
from circuit_tui.core.session.session import open_session
from circuit_tui.core.views import MemoryUse
from circuit_tui.tui.cli import main


@pytest.mark.slow
def test_on_other_devices(root: Path) -> None:
    """Runs the cases of two files in a process of their own."""
    cases = [str(root / "tests" / "core" / file) for file in ("two_devices.py", "one_other_device.py")]
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *cases]
    done = subprocess.run(command, capture_output=True, text=True, cwd=root, check=False)
    assert done.returncode == 0, done.stdout
    assert " passed" in done.stdout


def test_without_a_gpu_it_is_all_on_the_cpu(solvable_request: Callable[..., OpenRequest]) -> None:
    """Accelerate itself places the blocks."""
    near, spread = open_session(solvable_request("gpt2")), open_session(spread_out(solvable_request("gpt2")))
    assert spread.problem.model.devices == (CPU,)
    assert spread.info.test == near.info.test


GB = 10**9


@pytest.fixture
def two_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two CUDA devices, as far as torch can be asked about them."""
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: ((80, 40)[device.index] * GB, 80 * GB))
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "NVIDIA H100")


@pytest.mark.usefixtures("two_gpus")
def test_each_device_keeps_room_for_its_saes(
    solvable_request: Callable[..., OpenRequest], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert device_memory.budgets(20 * GB) == {0: 62 * GB, 1: 26 * GB}
    given: dict[str, Any] = {}

    def boot(source: str, **kwargs: Any) -> Any:
        given.update(kwargs)
        raise ValueError("hf_device_map contains unsupported offload targets: ['disk'].\nMore.")

    monkeypatch.setattr(TransformerBridge, "boot_transformers", boot)
    said = "--device-map auto: .* cannot be spread over 2 devices: hf_device_map contains unsupported.*; try --dtype"
    with pytest.raises(UserError, match=said):
        open_session(spread_out(solvable_request("gpt2")))
    assert given["device_map"] == "auto"
    assert "device" not in given
    assert sorted(given["max_memory"]) == [0, 1]
    assert device_name(device_memory.cuda_devices()) == "2 x NVIDIA H100"
    assert memory_use(device_memory.cuda_devices()) == MemoryUse(40 * GB, 160 * GB)


@pytest.mark.usefixtures("two_gpus")
def test_the_plan_has_the_memory_of_all_devices(solvable_request: Callable[..., OpenRequest]) -> None:
    planned = plan_memory(spread_out(solvable_request("gpt2")))
    assert planned.free == 120 * GB
    assert planned.device == "cuda:0 and cuda:1"


def test_a_pass_is_as_large_as_the_fullest_device_allows(monkeypatch: pytest.MonkeyPatch) -> None:
    free = {"cpu": 900, "meta": 200}
    monkeypatch.setattr(device_memory, "free_memory", lambda device: free[device.type] / device_memory.SHARE)
    shares = {CPU: 0.75, torch.device("meta"): 0.25}
    assert device_memory.largest_batch(100, 100, shares) == 8, "200 / (100 * 0.25)"
    assert device_memory.largest_batch(100, 8, shares) is None
    assert device_memory.largest_batch(10**6, 8, shares) == 1


@pytest.mark.parametrize("command", ["find", "explore", "compare", "sweep"])
@pytest.mark.parametrize(
    ("flags", "line"),
    [
        (["--device-map", "balanced"], "error: --device-map balanced: unknown; use auto\n"),
        (["--device-map", "auto", "--device", "cpu"], "error: --device and --device-map: give one of the two\n"),
    ],
)
def test_what_cannot_be_is_one_line(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, command: str, flags: list[str], line: str
) -> None:
    out = ["--out", str(tmp_path / "out.sqlite")] if command == "sweep" else []
    assert main([command, *flags, *out]) == 2
    assert capsys.readouterr().err == line


def test_without_accelerate_is_one_line(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("circuit_tui.core.opening.request.find_spec", lambda name: None)
    assert main(["find", "--device-map", "auto"]) == 2
    expected = "error: --device-map auto: needs accelerate; install it with pip install accelerate\n"
    assert capsys.readouterr().err == expected
