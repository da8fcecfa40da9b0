"""The flags that say what to open, shared by the commands that have them, and how they become an `OpenRequest`.

Words with a fixed set of values are checked here rather than by the parser, whose messages suggest nothing.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, Any, get_type_hints

import typer

from circuit_tui.core.choices import ABLATIONS, DTYPES, ERRORS, PADDINGS, POSITIONS
from circuit_tui.core.errors import UserError
from circuit_tui.core.opening.request import OpenRequest
from circuit_tui.core.saes.sae_filter import SiteFlags
from circuit_tui.tui.commands.options import choice

Model = Annotated[str | None, typer.Option(metavar="NAME|DIR", help="Hugging Face name or folder. [the bundled model]")]
Sae = Annotated[
    list[str] | None, typer.Option(metavar="RELEASE[:ID]", help="A released SAE, or a release; repeat for more sites.")
]
Layers = Annotated[str | None, typer.Option(metavar="7,14,21", help="With a release: its SAEs at these layers.")]
Every = Annotated[int | None, typer.Option(metavar="N", help="With a release: every Nth layer that it has.")]
Width = Annotated[str | None, typer.Option(metavar="16k", help="With a release: SAEs with this many latents.")]
L0 = Annotated[str | None, typer.Option("--l0", metavar="N|WORD", help="With a release: the nearest L0, or its word.")]
SaeDir = Annotated[list[Path] | None, typer.Option(metavar="DIR", help="A sae-lens folder; repeat for more sites.")]
Sites = Annotated[
    list[str] | None, typer.Option(metavar="L6,L12", help="Of the SAEs only those at these hooks, in full or short.")
]
TaskName = Annotated[
    str | None, typer.Option("--task", metavar="NAME", help="A built-in task, see `circuit-tui tasks`.")
]
Prompts = Annotated[Path | None, typer.Option(metavar="FILE.jsonl", help="Prompts of your own, instead of --task.")]
Chat = Annotated[
    bool, typer.Option("--chat", help="Put each prompt in the model's chat template, as a user's message.")
]
Bos = Annotated[
    bool | None,
    typer.Option("--bos/--no-bos", help="BOS in front of prompts or not. [as tokenizer and SAEs say]"),
]
Circuit = Annotated[
    Path | None,
    typer.Option(metavar="FILE.json", help="A circuit file, with all that it names; or published masks."),
]
Positions = Annotated[str | None, typer.Option(metavar="|".join(POSITIONS), help="What counts as a node's position.")]
Ablation = Annotated[str | None, typer.Option(metavar="|".join(ABLATIONS), help="What replaces other nodes. [mean]")]
Errors = Annotated[str | None, typer.Option(metavar="|".join(ERRORS), help="What to do with SAE errors. [drop]")]
Device = Annotated[str | None, typer.Option(metavar="NAME", help="cpu, cuda, cuda:N or mps. [cuda where there is one]")]
DeviceMap = Annotated[
    str | None, typer.Option(metavar="auto", help="Spread the model over all CUDA devices, instead of --device.")
]
Dtype = Annotated[
    str | None, typer.Option(metavar="|".join(DTYPES), help="Data type of the model; SAEs stay in float32. [float32]")
]
Padding = Annotated[
    str | None, typer.Option(metavar="|".join(PADDINGS), help="Side on which prompts are padded. [right]")
]
Batch = Annotated[int | None, typer.Option(min=1, metavar="N", help="Prompts in one forward pass, at most.")]


@dataclass(frozen=True, slots=True, kw_only=True)
class Opening:
    """The flags as given on the command line."""

    model: Model = None
    sae: Sae = None
    layers: Layers = None
    every: Every = None
    width: Width = None
    l0: L0 = None
    sae_dir: SaeDir = None
    sites: Sites = None
    task: TaskName = None
    prompts: Prompts = None
    chat: Chat = False
    bos: Bos = None
    circuit: Circuit = None
    positions: Positions = None
    ablation: Ablation = None
    errors: Errors = None
    device: Device = None
    device_map: DeviceMap = None
    dtype: Dtype = None
    batch: Batch = None
    padding: Padding = None

    def request(self, seed: int = 0) -> OpenRequest:
        """The request that the flags describe. Errors that can be found without a model are raised at once.

        Raises:
            UserError: an unknown word or task, two flags that exclude each other, a file or folder that is not there,
                a prompts or circuit file that cannot be read.
        """
        chosen: dict[str, Any] = {"positions": choice("--positions", self.positions, POSITIONS)}
        chosen["ablation"] = choice("--ablation", self.ablation, ABLATIONS) or "mean"
        chosen["errors"] = choice("--errors", self.errors, ERRORS) or "drop"
        chosen["padding"] = choice("--padding", self.padding, PADDINGS) or "right"
        flags = SiteFlags(self.layers, self.every, self.width, self.l0)
        flags.check()
        choice("--dtype", self.dtype, DTYPES)
        _check_device(self.device)
        if self.circuit is not None:
            own = (
                "model",
                "sae",
                "sae_dir",
                "task",
                "prompts",
                "positions",
                "ablation",
                "errors",
                "dtype",
                "chat",
                "sites",
            )
            named = {f"--{name.replace('_', '-')}": getattr(self, name) for name in own}
            named["--bos or --no-bos"] = self.bos is not None
            _check_circuit(self.circuit, named | {flags.given: flags.given})
        if self.task is not None and self.prompts is not None:
            raise UserError("--task and --prompts: give one of the two")
        if self.task is not None:
            from circuit_tui.core.tasks.builtin import names

            choice("--task", self.task, names())
        if self.prompts is not None:
            from circuit_tui.core.tasks.prompts_file import load_prompts

            load_prompts(self.prompts)
        for folder in self.sae_dir or ():
            if not folder.expanduser().is_dir():
                raise UserError(f"--sae-dir {folder}: no such folder")
        for name in self.sae or ():
            if name.startswith(":") or name.endswith(":"):
                raise UserError(f"--sae {name}: write RELEASE:ID; `circuit-tui saes` lists them")
        if flags.given and self.model is None and not self.sae:
            raise UserError(f"{flags.given}: needs --sae RELEASE, whose SAEs it chooses from")
        request = OpenRequest(
            model=self.model,
            saes=tuple(self.sae or ()),
            site_flags=flags,
            sae_dirs=tuple(self.sae_dir or ()),
            task=self.task,
            prompts=self.prompts,
            circuit=self.circuit,
            chat=self.chat,
            bos=self.bos,
            device=self.device,
            device_map=self.device_map,
            dtype=self.dtype,
            batch=self.batch,
            seed=seed,
            sites=tuple(site for given in self.sites or () for site in given.split(",") if site),
            **chosen,
        )
        request.check_devices()
        return request


@dataclass(frozen=True, slots=True, kw_only=True)
class Reopening:
    """The flags of a command on a circuit file: where what the file names is now, and what it runs on."""

    model: Annotated[str | None, typer.Option(help="Where the model is now, if not where the file says.")] = None
    sae_dir: Annotated[list[Path] | None, typer.Option(metavar="DIR", help="Where the SAEs are now; repeat.")] = None
    prompts: Annotated[Path | None, typer.Option(metavar="FILE.jsonl", help="Where the prompts are now.")] = None
    device: Device = None
    device_map: DeviceMap = None
    batch: Batch = None

    def request(self) -> OpenRequest:
        """The request that the flags describe; raises what `Opening.request` raises."""
        return Opening(**{each.name: getattr(self, each.name) for each in fields(self)}).request()


def opening_flags(*, without: Collection[str] = ()) -> Callable[[Callable[..., int]], Callable[..., int]]:
    """Give a command the flags of `Opening`, except those named in `without`, as its argument `opening`."""
    return lambda command: _with_flags(command, "opening", Opening, without)


def reopening_flags(command: Callable[..., int]) -> Callable[..., int]:
    """Give a command the flags of `Reopening` as its argument `reopening`."""
    return _with_flags(command, "reopening", Reopening)


def _with_flags(
    command: Callable[..., int], argument: str, kind: type[Opening | Reopening], without: Collection[str] = ()
) -> Callable[..., int]:
    """Put the flags of `kind`, except those named in `without`, where `command` has its argument `argument`."""
    hints, keyword = get_type_hints(kind, include_extras=True), inspect.Parameter.KEYWORD_ONLY
    flags = [
        inspect.Parameter(field.name, keyword, default=field.default, annotation=hints[field.name])
        for field in fields(kind)
        if field.name not in without
    ]
    own = inspect.signature(command, eval_str=True)
    every = [
        parameter
        for each in own.parameters.values()
        for parameter in (flags if each.name == argument else [each.replace(kind=keyword)])
    ]

    @functools.wraps(command)
    def called(**given: Any) -> int:
        given[argument] = kind(**{flag.name: given.pop(flag.name) for flag in flags})
        return command(**given)

    called.__signature__ = own.replace(parameters=every)  # type: ignore[attr-defined]
    called.__annotations__ = {each.name: each.annotation for each in every}
    return called


def _check_circuit(circuit: Path, given: Mapping[str, object]) -> None:
    """Check a circuit file, and that no flag in `given` repeats what it names; published masks need those flags."""
    from circuit_tui.core.circuits.circuit_file import read_circuit
    from circuit_tui.core.circuits.mask_file import is_mask_file, read_masks

    if is_mask_file(circuit):
        read_masks(circuit)
        return
    for flag, value in given.items():
        if value:
            raise UserError(f"{flag}: leave it out with --circuit, whose file {circuit} says what to open")
    read_circuit(circuit)


def _check_device(device: str | None) -> None:
    """Refuse a misspelt device without loading torch, which will say whether the machine has it."""
    if device is not None:
        kind, colon, index = device.partition(":")
        choice("--device", kind, ("cpu", "cuda", "mps"))
        if colon and not index.isdecimal():
            raise UserError(f"--device {device}: a device's number follows the colon, as in {kind}:0")
