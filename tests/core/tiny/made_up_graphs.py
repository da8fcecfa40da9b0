"""Graphs of a made-up device: they record the operations of a body and replay them on the tensors they were given.

As on a GPU, recording changes no tensor, what the recorded work makes holds nothing until it is replayed, and an
operation that waits for the device, or whose result's size depends on its numbers, cannot be recorded.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

aten = torch.ops.aten
WAITING = {
    aten._local_scalar_dense, aten.nonzero, aten.item, aten.equal, aten.is_nonzero, aten.masked_select, aten.bincount,
    aten._unique2, aten.unique_dim, aten.unique_consecutive, aten.repeat_interleave, aten.allclose,
}  # fmt: skip
"""Operations that wait for the device: they bring a number to the host, or need one there for a size."""
NO_KERNEL = {
    aten.detach, aten.view, aten.t, aten.transpose, aten.expand, aten.unsqueeze, aten.squeeze, aten.select, aten.slice,
    aten.permute, aten._unsafe_view, aten.split, aten.split_with_sizes, aten.unbind, aten.alias, aten.as_strided,
    aten.lift_fresh, aten.empty, aten.empty_like,
}  # fmt: skip
"""Operations that compute nothing."""
RANDOM = {aten.rand, aten.randn, aten.randperm, aten.bernoulli, aten.uniform_, aten.normal_}


class NotRecordable(RuntimeError):
    """What a GPU would say."""


def waits(func: Any, args: Iterable[Any], named: Mapping[str, Any] | None = None) -> bool:
    """Whether `func` waits for the device; an index that is a mask is one too: its length is a number."""
    if func.overloadpacket in (aten._to_copy, aten.copy_):
        devices = {tensor.device for tensor in _tensors(list(args))} | {(named or {}).get("device")}
        return len(devices - {None}) > 1
    if func.overloadpacket in WAITING or func.overloadpacket in RANDOM:
        return True
    if func.overloadpacket not in (aten.index, aten.index_put, aten.index_put_, aten._index_put_impl_):
        return False
    return any(index.dtype == torch.bool for index in list(args)[1] if index is not None)


class Operations(TorchDispatchMode):
    """Within it `n` counts the operations, without those that compute nothing: as many kernels a GPU would start."""

    def __init__(self) -> None:
        super().__init__()
        self.n = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.n += func.overloadpacket not in NO_KERNEL
        return func(*args, **(kwargs or {}))


class NoWaiting(Operations):
    """Within it nothing may wait for the device, either."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if waits(func, args, kwargs):
            raise NotRecordable(f"{func} waits for the device")
        return super().__torch_dispatch__(func, types, args, kwargs)


class MadeUpGraph:
    """Recorded operations."""

    def __init__(self, calls: list[tuple[Any, Any, Any, Any]], log: list[str]) -> None:
        self._calls, self._log = calls, log

    @torch.no_grad()
    def replay(self) -> None:
        """Runs the operations again; each result is written to where it was first."""
        self._log.append("replay")
        for func, args, kwargs, out in self._calls:
            again = func(*args, **kwargs)
            for first, now in zip(_tensors([out]), _tensors([again]), strict=True):
                if not _is_view(func) and first is not now:
                    first.copy_(now)


class _Recorder(TorchDispatchMode):
    def __init__(self) -> None:
        super().__init__()
        self.calls: list[tuple[Any, Any, Any, Any]] = []
        self.before: list[tuple[Tensor, Tensor]] = []
        self.made: list[Tensor] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if waits(func, args, kwargs):
            raise NotRecordable(f"operation not permitted when recording: {func}")
        for argument, value in zip(func._schema.arguments, args, strict=False):
            if argument.alias_info is not None and argument.alias_info.is_write:
                self.before += [(tensor, tensor.clone()) for tensor in _tensors([value])]
        out = func(*args, **kwargs)
        self.calls.append((func, args, kwargs, out))
        if not _is_view(func):
            self.made += [tensor for tensor in _tensors([out]) if tensor.is_floating_point()]
        return out

    @torch.no_grad()
    def undo(self) -> None:
        """Leaves every tensor as it was, and nothing in those that were made."""
        for tensor in self.made:
            tensor.fill_(torch.nan)
        for tensor, value in reversed(self.before):
            tensor.copy_(value)


class MadeUpGraphs:
    """`DeviceGraphs` of a made-up device; `log` has what was asked of it."""

    def __init__(self, fails: bool = False) -> None:
        self.log: list[str] = []
        self.in_flight = self.most_in_flight = 0
        self._fails = fails

    def warm_up(self, body: Callable[[], None]) -> None:
        self.log.append("warm up")
        body()

    def record(self, body: Callable[[], None]) -> MadeUpGraph:
        self.log.append("record")
        recorder = _Recorder()
        try:
            with recorder:
                body()
            if self._fails:
                raise NotRecordable("operation not permitted when recording: another library's\nsecond line")
        finally:
            recorder.undo()
        return MadeUpGraph(recorder.calls, self.log)

    def mark(self) -> MadeUpMark:
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        return MadeUpMark(self)

    def send(self, values: Tensor, into: Tensor) -> None:
        into.copy_(values, non_blocking=True)


class MadeUpMark:
    """A step that the device has been given: as if it ran only once someone waits for it."""

    def __init__(self, graphs: MadeUpGraphs) -> None:
        self._graphs = graphs

    def synchronize(self) -> None:
        self._graphs.in_flight -= 1


def _tensors(parts: Sequence[Any]) -> Iterator[Tensor]:
    for part in parts:
        if isinstance(part, Tensor):
            yield part
        elif isinstance(part, list | tuple):
            yield from _tensors(part)


def _is_view(func: Any) -> bool:
    """Whether an operation returns a part of an argument, or writes to one."""
    return any(argument.alias_info is not None for argument in func._schema.arguments)
