"""The memory plan of a request: the memory that it needs on a device, and how many prompts fit into one pass.

Shapes come from configurations and prompts from the tokenizer; no weight is loaded. The plan is exact for weights, for
the tensors of prompts, and for the passes that live circuits keep (`incremental_pass.py`, `full_pass.py`). A pass
itself is an estimate (`pass_memory.py`).
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch

from circuit_tui.core import demo
from circuit_tui.core.circuits.circuit_file import read_circuit
from circuit_tui.core.circuits.mask_file import is_mask_file
from circuit_tui.core.errors import UserError, first_line
from circuit_tui.core.evaluation import incremental_pass
from circuit_tui.core.models.devices import pick_device, pick_dtype
from circuit_tui.core.models.load_model import load_tokenizer
from circuit_tui.core.models.model_files import model_folder
from circuit_tui.core.opening.open_circuit import request_of
from circuit_tui.core.opening.open_problem import saes_of
from circuit_tui.core.opening.pass_memory import FLOAT32, ModelShape, SiteShape, bytes_a_prompt
from circuit_tui.core.opening.request import OpenRequest
from circuit_tui.core.opening.tokenized_task import task_of, tokenize_task
from circuit_tui.core.runtime.device_memory import SHARE, cuda_devices, free_memory
from circuit_tui.core.saes.hook_names import Hook, matching_hooks
from circuit_tui.core.saes.registry import find_saes
from circuit_tui.core.saes.site import locate_hooks
from circuit_tui.core.views import LoadProgress

_JOINT = re.compile(r"c_attn|query_key_value|qkv")


class SplitShape(NamedTuple):
    """One split: its prompts, their rows of tokens, the tokens of the longest row, and the reads of answers."""

    prompts: int
    rows: int
    longest: int
    reads: int


@dataclass(frozen=True, slots=True)
class MemoryPlan:
    """The memory that is needed, in bytes, and how many prompts fit into a pass.

    Attributes:
        device: its name.
        free: the free memory there; None if the device does not report it; everything is then assumed to fit.
        model, saes, prompts: the weights, and the tensors kept for the prompts.
        followed: the tensors that two live circuits keep of their passes, on the test and on the train prompts.
        a_prompt: the memory for one more prompt in a pass.
        n_prompts: the prompts of the largest split.
        batch: how many prompts fit into a pass, at most `n_prompts`; 0 if not even one fits.
    """

    device: str
    free: int | None
    model: int
    saes: int
    prompts: int
    followed: int
    a_prompt: int
    n_prompts: int
    batch: int

    @property
    def fixed(self) -> int:
        """The bytes that are needed however few prompts there are in a pass."""
        return self.model + self.saes + self.prompts + self.followed

    @property
    def total(self) -> int:
        """The bytes that are needed with `batch` prompts in a pass."""
        return self.fixed + self.batch * self.a_prompt


def plan_for_shapes(
    shape: ModelShape, splits: dict[str, SplitShape], free: int | None, dtype: torch.dtype, device: str,
    request: OpenRequest, trace_share: float,
) -> MemoryPlan:  # fmt: skip
    """Returns the plan for a model of `shape` and prompts of `splits`.

    A trace may take `trace_share` of the memory that is left. `free` is in bytes.
    """
    size, sites = dtype.itemsize, len(shape.sites)
    model = shape.weights * size
    saes = sum(2 * site.d_sae * shape.d_model + site.d_sae + shape.d_model for site in shape.sites) * FLOAT32
    inside = sum(site.inside for site in shape.sites)
    prompts = 0
    for name, split in splits.items():
        resid = split.rows * split.longest * shape.d_model
        prompts += resid * size + split.reads * shape.vocab * FLOAT32
        if name == "train":
            # The corrupt side; on both sides the residual at each site, and an SAE's input inside a block.
            prompts += resid * size * (1 + 2 * (sites + inside))
        if request.errors != "drop":
            prompts += resid * sites * FLOAT32
    longest, n_prompts = (max(each) for each in zip(*((s.longest, s.prompts) for s in splits.values()), strict=True))
    rows_per_prompt = splits["train"].rows // splits["train"].prompts
    a_prompt = rows_per_prompt * bytes_a_prompt(shape, longest, size)
    can_trace, followed = not inside and request.padding == "right", 0
    for name in ("test", "train"):  # the circuit on the screen, and the circuit of a search
        traces, inputs = _followed_bytes(shape, splits[name], size)
        fits = free is None or traces <= trace_share * (free - model - saes - prompts - followed)
        followed += traces if can_trace and fits else inputs
    fixed = model + saes + prompts + followed
    batch = n_prompts if free is None else max(0, min(n_prompts, int((SHARE * free - fixed) // a_prompt)))
    if request.batch is not None:
        batch = min(batch, request.batch)
    return MemoryPlan(device, free, model, saes, prompts, followed, a_prompt, n_prompts, batch)


def _followed_bytes(shape: ModelShape, split: SplitShape, size: int) -> tuple[int, int]:
    """Returns the bytes that a live circuit keeps on a split: two traces, or for full passes the sites' inputs."""
    tokens, streams = split.rows * split.longest, 2 * len(shape.sites) * shape.d_model
    blocks = shape.n_layers - min(site.depth for site in shape.sites)
    groups = len({(site.depth, site.inside) for site in shape.sites})
    return 2 * tokens * (streams + blocks * 2 * shape.d_key_value) * size, tokens * groups * shape.d_model * size


def plan_memory(request: OpenRequest, report: Callable[[LoadProgress], None] = lambda _: None) -> MemoryPlan:
    """Returns the plan of `request`; `report` is told of a download of the model's configuration.

    Raises:
        UserError: the model's configuration or an SAE's shape cannot be found, or `request` makes no sense.
    """
    if request.circuit is not None and not is_mask_file(request.circuit):  # masks do not say what to open
        request = request_of(read_circuit(request.circuit), request, request.circuit.parent)
    request.check_devices()
    device, dtype = pick_device(request.device), pick_dtype(request.dtype)
    source = str(demo.model_dir()) if request.model is None else _config_folder(request.model, request.revision, report)
    shape, chosen = shape_of(request, source), task_of(request)
    tokenizer = load_tokenizer(request.model or demo.MODEL_NAME, Path(source))
    tokenized = tokenize_task(request, chosen, tokenizer, (), torch.device("cpu"))
    splits = {}
    for split, prompts in tokenized.prompt_sets.items():
        longest = max(side.tokens.shape[1] for side in (prompts.clean, prompts.corrupt))
        rows, reads = len(prompts.clean.lengths), len(prompts.answers.read_rows)
        splits[str(split)] = SplitShape(len(prompts), rows, longest, reads)
    devices = cuda_devices() if request.device_map is not None else []
    name, free = str(device), free_memory(device)
    if devices:
        name, free = " and ".join(map(str, devices)), sum(free_memory(each) or 0 for each in devices)
    return plan_for_shapes(shape, splits, free, dtype, name, request, incremental_pass.MEMORY_SHARE)


def shape_of(request: OpenRequest, source: str) -> ModelShape:
    """Returns the shape of the model `source`, a folder or Hub name, with the SAEs of `request`.

    Raises:
        UserError: a configuration cannot be found.
    """
    from transformers import AutoConfig, AutoModelForCausalLM

    try:
        config: Any = AutoConfig.from_pretrained(source)
        with torch.device("meta"):
            empty = AutoModelForCausalLM.from_config(config)
    except Exception as error:  # the loaders raise dozens of types; each means that the shape cannot be had
        raise UserError(f"--model {source}: its configuration cannot be had: {first_line(error)}") from error
    text = config.get_text_config()
    # If queries, keys and values share one matrix, the bridge holds a second copy, cut into three.
    weights = sum(part.numel() * (2 if _JOINT.search(name) else 1) for name, part in empty.named_parameters())
    n_heads, n_layers = int(text.num_attention_heads), int(text.num_hidden_layers)
    d_head = getattr(text, "head_dim", None) or int(text.hidden_size) // n_heads
    d_key_value = int(d_head) * int(getattr(text, "num_key_value_heads", None) or n_heads)
    return ModelShape(
        weights, int(text.hidden_size), n_layers, n_heads, int(text.vocab_size), _sites(request), d_key_value
    )


def _sites(request: OpenRequest) -> tuple[SiteShape, ...]:
    names, folders = saes_of(request)
    sites: list[tuple[Hook, int]] = []
    for name in names:
        found = next((sae for sae in find_saes(name.replace(":", " ")) if sae.name == name), None)
        if found is None or found.width is None:
            raise UserError(f"--sae {name}: its width is not known before it is loaded")
        sites.append((Hook(found.hook or ""), found.width))
    for folder in folders:
        try:
            config = json.loads((folder.expanduser() / "cfg.json").read_text())
            sites.append((Hook.of_config(config), int(config["d_sae"])))
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise UserError(f"--sae-dir {folder}: cfg.json says no d_sae") from error
    if request.sites:
        chosen = matching_hooks(request.sites, [hook for hook, _ in sites])
        sites = [(hook, width) for hook, width in sites if hook.name in chosen]
    return tuple(_site(width, hook) for hook, width in sites)


def _site(d_sae: int, hook: Hook) -> SiteShape:
    """Returns the site that the names describe; a hook not known to be on the stream counts as inside a block."""
    depth, inside = locate_hooks(hook.name, hook.out) or (0, True)
    return SiteShape(d_sae, depth, bool(inside))


def _config_folder(model: str, revision: str | None, report: Callable[[LoadProgress], None]) -> str:
    """Returns the folder with a model's configuration and tokenizer, without its weights."""
    stage = LoadProgress("reading the model's configuration", 0, 1)
    return str(model_folder(model, revision, report, stage, weights=False)[1])
