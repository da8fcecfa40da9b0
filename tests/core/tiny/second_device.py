"""A simulated second device: its tensors are computed on the CPU, but never together with others.

An operation on tensors of both devices fails, as it does for two GPUs; only a copy goes from one to the other.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode, return_and_correct_aliasing
from torch.utils.backend_registration import _setup_privateuseone_for_python_backend

aten = torch.ops.aten
COPIES = (aten.copy_.default, aten._to_copy.default)


class _Module:
    """What torch needs of a device's module; only code that names the device gets it."""

    def is_initialized(self) -> bool:
        return True

    def is_available(self) -> bool:
        return False

    def device_count(self) -> int:
        return 1

    def current_device(self) -> int:
        return 0

    def _is_in_bad_fork(self) -> bool:
        return False

    def manual_seed_all(self, seed: int) -> None:
        pass

    def get_amp_supported_dtype(self) -> list[torch.dtype]:
        return [torch.bfloat16]


@cache
def second_device() -> torch.device:
    """The second device, ``far:0``."""
    _setup_privateuseone_for_python_backend("far", backend_module=_Module())
    return torch.device("far:0")


class SecondDeviceTensor(Tensor):
    """A tensor of the second device; `on_cpu` is its content."""

    on_cpu: Tensor

    @staticmethod
    def __new__(cls, on_cpu: Tensor) -> SecondDeviceTensor:
        made: SecondDeviceTensor = torch.Tensor._make_wrapper_subclass(  # type: ignore[attr-defined]
            cls, on_cpu.shape, strides=on_cpu.stride(), storage_offset=on_cpu.storage_offset(), dtype=on_cpu.dtype,
            device=second_device(),
        )  # fmt: skip
        made.on_cpu = on_cpu
        return made

    def tolist(self) -> Any:
        _WAITS.append("tolist")
        return self.on_cpu.tolist()

    def __reduce_ex__(self, protocol: Any) -> Any:
        return self.on_cpu.__reduce_ex__(protocol)  # a file is read with `map_location="cpu"`

    __torch_function__ = torch._C._disabled_torch_function_impl  # type: ignore[assignment]

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _run(func, args, kwargs or {})


class _Both(TorchDispatchMode):
    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _run(func, args, kwargs or {})


class _FromNumbers(TorchFunctionMode):
    """Makes tensors of Python's numbers on the CPU, and copies them."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        given = kwargs or {}
        if func is not torch.tensor or torch.device(given.get("device") or "cpu").type != second_device().type:
            return func(*args, **given)
        return func(*args, **{**given, "device": "cpu"}).to(given["device"])


@contextmanager
def with_second_device() -> Iterator[torch.device]:
    """Within this block tensors can be made on the second device; yields that device."""
    with _Both(), _FromNumbers():
        yield second_device()


_SENT: list[int] = []
_WAITS: list[str] = []
_ASKING = {
    aten._local_scalar_dense, aten.item, aten.equal, aten.is_nonzero, aten.nonzero, aten.masked_select, aten.bincount,
    aten._unique2, aten.unique_dim, aten.unique_consecutive, aten.repeat_interleave,
}  # fmt: skip
"""Operations that bring a number to the host, or need one there for the size of their result."""


@contextmanager
def waits_for_the_device() -> Iterator[list[str]]:
    """Yields what within this block makes the host wait for the second device, or the other way round."""
    _WAITS.clear()
    yield _WAITS


@contextmanager
def sizes_copied() -> Iterator[list[int]]:
    """Yields the sizes of all copies from the CPU to the second device within this block."""
    _SENT.clear()
    yield _SENT


def _run(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    if func is aten._fused_sdp_choice.default:
        return 0
    if func is aten._to_sparse.default and isinstance(args[0], SecondDeviceTensor):
        return args[0].clone()  # a wrapper is dense
    tensors = list(_tensors((*args, *kwargs.values())))
    here = [part for part in tensors if not isinstance(part, SecondDeviceTensor)]
    there = len(here) < len(tensors)
    if there and func not in COPIES and any(part.dim() > 0 for part in here):
        shapes = [(type(part).__name__, tuple(part.shape)) for part in tensors]
        raise RuntimeError(f"{func}: expected all tensors to be on the same device: {shapes}")
    device = kwargs.get("device")
    if device is not None:
        there = device.type == second_device().type
        kwargs = {**kwargs, "device": torch.device("cpu")} if there or device.type == "cpu" else kwargs
    elif func is aten.copy_.default:
        there = isinstance(args[0], SecondDeviceTensor)
    if there and kwargs.get("generator") is not None:
        raise RuntimeError(f"{func}: expected a generator of the second device, but found one of the CPU")
    far = any(isinstance(part, SecondDeviceTensor) for part in tensors)
    masks = func.overloadpacket in (aten.index, aten.index_put, aten.index_put_) and any(
        index.dtype == torch.bool for index in args[1] if index is not None
    )
    waits = not (kwargs.get("non_blocking") or (func is aten.copy_.default and args[2:] == (True,)))
    copies = func in COPIES and waits and (far != there or bool(here and there))
    if copies or (far and (func.overloadpacket in _ASKING or masks)):
        _WAITS.append(f"{func} {[tuple(part.shape) for part in tensors]}")
    if there and func in COPIES:
        _SENT.extend(part.numel() for part in here)
    out = func(*map(_to_cpu, args), **{name: _to_cpu(part) for name, part in kwargs.items()})
    if not there:
        return out
    out = _to_second_device(out)
    return return_and_correct_aliasing(func, args, kwargs, out) if _aliases(func) else out


# Arguments and results of operations are lists and tuples at most. Torch's own walk over them takes most of the time.
def _tensors(parts: Iterable[Any]) -> Iterator[Tensor]:
    for part in parts:
        if isinstance(part, Tensor):
            yield part
        elif isinstance(part, list | tuple):
            yield from _tensors(part)


def _to_cpu(part: Any) -> Any:
    if isinstance(part, list | tuple):
        return [_to_cpu(one) for one in part]
    return part.on_cpu if isinstance(part, SecondDeviceTensor) else part


def _to_second_device(part: Any) -> Any:
    if isinstance(part, list | tuple):
        return type(part)([_to_second_device(one) for one in part])
    return SecondDeviceTensor(part) if isinstance(part, Tensor) else part


@cache
def _aliases(func: Any) -> bool:
    """Whether an operation changes an argument, or returns a view of one."""
    return any(argument.alias_info is not None for argument in func._schema.arguments)
