"""The flags that commands share, and how they become an `OpenRequest`.

Words with a fixed set of values are checked here rather than by the parser: its complaints suggest nothing.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from circuit_tui.core.errors import UserError
from circuit_tui.core.request import ABLATIONS, ERRORS, POSITIONS, OpenRequest
from circuit_tui.core.sae_choice import SiteFlags
from circuit_tui.core.search import registry

DTYPES = ("float32", "bfloat16", "float16")
Model = Annotated[str | None, typer.Option(metavar="NAME|DIR", help="Hugging Face name or folder. [the bundled model]")]
Sae = Annotated[
    list[str] | None, typer.Option(metavar="RELEASE[:ID]", help="A released SAE, or a release; repeat for more sites.")
]
Layers = Annotated[str | None, typer.Option(metavar="7,14,21", help="Of a release: the SAEs at these layers.")]
Every = Annotated[int | None, typer.Option(metavar="N", help="Of a release: every Nth layer that it has.")]
Width = Annotated[str | None, typer.Option(metavar="16k", help="Of a release: SAEs of this many latents.")]
L0 = Annotated[str | None, typer.Option("--l0", metavar="N|WORD", help="Of a release: the nearest L0, or its word.")]
SaeDir = Annotated[list[Path] | None, typer.Option(metavar="DIR", help="A sae-lens folder; repeat for more sites.")]
TaskName = Annotated[
    str | None, typer.Option("--task", metavar="NAME", help="A built-in task, see `circuit-tui tasks`.")
]
Prompts = Annotated[Path | None, typer.Option(metavar="FILE.jsonl", help="Prompts of your own, instead of --task.")]
Chat = Annotated[bool, typer.Option("--chat", help="Each prompt as a user's message, in the model's chat template.")]
Circuit = Annotated[
    Path | None, typer.Option(metavar="FILE.json", help="A circuit file, with all that it names; or published masks.")
]
Positions = Annotated[str | None, typer.Option(metavar="|".join(POSITIONS), help="What a node's position is.")]
Ablation = Annotated[str | None, typer.Option(metavar="|".join(ABLATIONS), help="What other nodes become. [mean]")]
Errors = Annotated[str | None, typer.Option(metavar="|".join(ERRORS), help="What becomes of SAE errors. [drop]")]
Device = Annotated[str | None, typer.Option(metavar="NAME", help="cpu, cuda, cuda:N or mps; CUDA where there is one.")]
Dtype = Annotated[str | None, typer.Option(metavar="|".join(DTYPES), help="Of the model alone. [float32]")]
Batch = Annotated[int | None, typer.Option(min=1, metavar="N", help="Prompts in one forward pass, at most.")]
Target = Annotated[float, typer.Option(metavar="X", help="Faithfulness to reach on the search prompts.")]
Method = Annotated[str, typer.Option(metavar="NAME", help=f"Search method: {', '.join(registry.METHODS)}.")]
Settings = Annotated[list[str] | None, typer.Option("--set", metavar="NAME=VALUE", help="A setting of the method.")]
Seed = Annotated[int, typer.Option(min=0, metavar="N", help="Same seed, same machine: same circuit.")]
Out = Annotated[Path | None, typer.Option(metavar="FILE.json", help="Where to write the circuit file.")]
Memory = Annotated[bool, typer.Option("--memory", help="Say what it needs of the device's memory; load nothing.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout.")]
Debug = Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")]


@dataclass(frozen=True, slots=True)
class SearchChoice:
    """How to search: settings as ``NAME=VALUE`` were given, not yet of the method's types."""

    method: str
    target: float
    seed: int
    settings: dict[str, str]


def open_request(
    *,
    model: str | None = None,
    sae: Sequence[str] | None = None,
    sae_dir: Sequence[Path] | None = None,
    task: str | None = None,
    prompts: Path | None = None,
    circuit: Path | None = None,
    positions: str | None = None,
    ablation: str | None = None,
    errors: str | None = None,
    device: str | None = None,
    dtype: str | None = None,
    batch: int | None = None,
    seed: int = 0,
    layers: str | None = None,
    every: int | None = None,
    width: str | None = None,
    l0: str | None = None,
    chat: bool = False,
) -> OpenRequest:
    """The request that the flags ask for, refused at once where that needs no model.

    Raises:
        UserError: an unknown word or task, two flags that exclude each other, a file or folder that is not there, a
            prompts or circuit file that cannot be read.
    """
    chosen: dict[str, Any] = {"positions": choice("--positions", positions, POSITIONS)}
    chosen["ablation"] = choice("--ablation", ablation, ABLATIONS) or "mean"
    chosen["errors"] = choice("--errors", errors, ERRORS) or "drop"
    flags = SiteFlags(layers, every, width, l0)
    flags.check()
    choice("--dtype", dtype, DTYPES)
    _check_device(device)
    if circuit is not None:
        named = {"--model": model, "--sae": sae, "--sae-dir": sae_dir, "--task": task, "--prompts": prompts}
        named |= {"--positions": positions, "--ablation": ablation, "--errors": errors, "--dtype": dtype}
        _check_circuit(circuit, {**named, flags.given: flags.given, "--chat": chat})
    if task is not None and prompts is not None:
        raise UserError("--task and --prompts: give one of the two")
    if task is not None:
        from circuit_tui.core.tasks import names

        choice("--task", task, names())
    if prompts is not None:
        from circuit_tui.core.prompts_file import load_prompts

        load_prompts(prompts)
    for folder in sae_dir or ():
        if not folder.expanduser().is_dir():
            raise UserError(f"--sae-dir {folder}: no such folder")
    for name in sae or ():
        if name.startswith(":") or name.endswith(":"):
            raise UserError(f"--sae {name}: write RELEASE:ID; `circuit-tui saes` lists them")
    if flags.given and model is None and not sae:
        raise UserError(f"{flags.given}: needs --sae RELEASE, whose SAEs it chooses from")
    return OpenRequest(
        model=model,
        saes=tuple(sae or ()),
        site_flags=flags,
        sae_dirs=tuple(sae_dir or ()),
        task=task,
        prompts=prompts,
        circuit=circuit,
        chat=chat,
        device=device,
        dtype=dtype,
        batch=batch,
        seed=seed,
        **chosen,
    )


def _check_circuit(circuit: Path, given: Mapping[str, object]) -> None:
    """Reads a circuit file, which says itself what to open; published masks leave that to the flags `given`."""
    from circuit_tui.core.circuit_file import read_circuit
    from circuit_tui.core.mask_file import is_mask_file, read_masks

    if is_mask_file(circuit):
        read_masks(circuit)
        return
    for flag, value in given.items():
        if value:
            raise UserError(f"{flag}: leave it out with --circuit, whose file {circuit} says what to open")
    read_circuit(circuit)


def search_choice(method: str, target: float, seed: int, settings: Sequence[str] | None) -> SearchChoice:
    """How to search, checked against the registry of methods.

    Raises:
        UserError: an unknown method or setting, a setting of the wrong type, a target that no circuit can have.
    """
    given: dict[str, str] = {}
    for text in settings or ():
        name, equals, value = text.partition("=")
        if not (name and equals and value):
            raise UserError(f"--set {text}: write NAME=VALUE")
        given[name] = value
    registry.method(method).resolve(given)
    if not 0 < target < 1:
        raise UserError(f"--target {target:g}: must lie between 0 and 1")
    return SearchChoice(method, target, seed, given)


def choice(flag: str, value: str | None, known: Sequence[str]) -> str | None:
    """`value` if it is None or one of `known`.

    Raises:
        UserError: another word; the line suggests the nearest and lists all.
    """
    if value is None or value in known:
        return value
    close = difflib.get_close_matches(value.lower(), known, n=1)
    hint = f"did you mean {close[0]}? " if close else ""
    raise UserError(f"{flag} {value}: unknown; {hint}choose one of {', '.join(known)}")


def _check_device(device: str | None) -> None:
    """Refuses a misspelt device without loading torch; whether the machine has it is for torch to say."""
    if device is not None:
        kind, colon, index = device.partition(":")
        choice("--device", kind, ("cpu", "cuda", "mps"))
        if colon and not index.isdecimal():
            raise UserError(f"--device {device}: a device's number follows the colon, as in {kind}:0")


def check_out(path: Path) -> None:
    """Refuses a file that could not be written, before the work rather than after it.

    Raises:
        UserError: see `circuit_file.check_target`.
    """
    from circuit_tui.core.circuit_file import check_target

    check_target(path)
