"""A device is made ready in a thread of its own, and what fails there is left to the work that follows."""

from __future__ import annotations

import threading

import pytest
import torch
from torch import Tensor

from circuit_tui.core.runtime.warm_device import warm_up


def test_a_device_multiplies_beside_the_caller(monkeypatch: pytest.MonkeyPatch) -> None:
    seen, multiply = list[tuple[str, str]](), Tensor.__matmul__

    def watched(self: Tensor, other: Tensor) -> Tensor:
        seen.append((self.device.type, threading.current_thread().name))
        return multiply(self, other)

    monkeypatch.setattr(Tensor, "__matmul__", watched)
    thread = warm_up(torch.device("meta"))
    assert thread is not None
    thread.join()
    assert seen == [("meta", "warm-up")]
    assert warm_up(torch.device("cpu")) is None


def test_a_device_that_fails_says_nothing_yet(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*args: object, **named: object) -> Tensor:
        raise torch.OutOfMemoryError("full")

    monkeypatch.setattr(torch, "ones", full)
    thread = warm_up(torch.device("meta"))
    assert thread is not None
    thread.join()
