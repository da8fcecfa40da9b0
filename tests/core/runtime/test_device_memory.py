"""How much of a device's memory is used."""

from __future__ import annotations

import pytest
import torch

from circuit_tui.core.runtime.device_memory import memory_use
from circuit_tui.core.views import MemoryUse


def test_of_a_gpu_what_is_used_by_whomever(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[torch.device] = []

    def free_and_total(device: torch.device) -> tuple[int, int]:
        asked.append(device)
        return 30, 80

    monkeypatch.setattr(torch.cuda, "mem_get_info", free_and_total)
    assert memory_use([torch.device("cuda", 1)]) == MemoryUse(used=50, total=80)
    assert asked == [torch.device("cuda", 1)]


def test_of_a_cpu_nothing() -> None:
    assert memory_use([torch.device("cpu")]) is None
