"""Opens a problem: loads SAEs, model and prompts, checks that they fit, and runs the opening passes."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from circuit_tui.core import demo
from circuit_tui.core.circuits.schema import BUNDLED, CircuitFile, TaskSource
from circuit_tui.core.errors import UserError
from circuit_tui.core.models.compat.import_libraries import import_libraries
from circuit_tui.core.models.devices import pick_device, pick_dtype
from circuit_tui.core.models.language_model import LanguageModel
from circuit_tui.core.models.load_model import load_model, load_tokenizer
from circuit_tui.core.models.model_files import model_folder
from circuit_tui.core.opening.check_fit import check_fit
from circuit_tui.core.opening.check_model import check_model, check_tokens, reference_prompts
from circuit_tui.core.opening.pass_memory import ModelShape, SiteShape, bytes_a_prompt
from circuit_tui.core.opening.request import OpenRequest
from circuit_tui.core.opening.tokenized_task import TokenizedTask, task_of, tokenize_task
from circuit_tui.core.runtime.device_memory import budgets, largest_batch
from circuit_tui.core.runtime.out_of_memory import explain_oom, halve_prompts, is_out_of_memory
from circuit_tui.core.runtime.warm_device import warm_up
from circuit_tui.core.saes.choose_saes import choose_saes
from circuit_tui.core.saes.hook_names import Hook, matching_hooks
from circuit_tui.core.saes.load_saes import load_saes, processing_of
from circuit_tui.core.saes.released_saes import SaeSource
from circuit_tui.core.saes.site import Site
from circuit_tui.core.splice.problem import Problem, build_problem
from circuit_tui.core.tasks.positions import Alignment, align, pick_kind
from circuit_tui.core.tasks.task import Split
from circuit_tui.core.tasks.tokens import PromptSet
from circuit_tui.core.views import LoadProgress

RESAMPLE_SEED = 0
"""The seed of resample ablation. It is fixed, so that a circuit file opens with the references it was made with."""
_STAGES = 7
ModelAndSites = tuple[LanguageModel, list[Site]]


@dataclass(frozen=True, slots=True)
class OpenedProblem:
    """A problem, and where its parts came from, as a circuit file records it. `notes` are sentences for the user."""

    problem: Problem
    model_name: str
    source: TaskSource
    chat: bool = False
    bos: bool = True
    notes: tuple[str, ...] = ()


def load_model_and_sites(request: OpenRequest, progress: Callable[[LoadProgress], None]) -> ModelAndSites:
    """Returns the model and the sites of `request`; Hugging Face's own passes are over prompts of its task.

    Raises:
        UserError: something cannot be found or does not fit.
    """
    return _load(request, progress)[0]


def _load(request: OpenRequest, progress: Callable[[LoadProgress], None]) -> tuple[ModelAndSites, TokenizedTask]:
    """Returns the model and the sites of `request`, and its task, tokenized on the CPU."""
    request.check_devices()
    chosen = task_of(request)  # refused before the long wait
    device, dtype = pick_device(request.device), pick_dtype(request.dtype)
    spread = request.device_map is not None
    progress(LoadProgress("loading libraries", 0, _STAGES))
    warm_up(device)
    import_libraries()
    stage = LoadProgress("loading SAEs", 1, _STAGES)
    progress(stage)
    bundled = request.model is None
    if request.model is not None:  # refuses a wrong name or token before the long wait
        model_folder(request.model, request.revision, progress, stage, weights=False)
        progress(stage)
    # It is not known yet where the blocks of a model that is spread will be: the SAEs wait on the CPU.
    first = torch.device("cpu") if spread else device
    with explain_oom(f"loading SAEs on {first}"):
        sites = _sites(request, first, SaeSource(progress, stage, dict(request.sae_revisions)))
    stage = LoadProgress(f"loading model {demo.MODEL_NAME if bundled else request.model}", 2, _STAGES)
    progress(stage)
    name, folder = demo.MODEL_NAME, demo.model_dir()
    if request.model is not None:
        name, folder = model_folder(request.model, request.revision, progress, stage)
        progress(stage)
    room = budgets(sum(site.sae.bytes for site in sites)) if spread else None
    with explain_oom(f"loading model {name} on {f'{len(room)} devices' if room else device}"):
        tokenizer = load_tokenizer(name, folder)
        tokenized = tokenize_task(request, chosen, tokenizer, sites, torch.device("cpu"))
        prompts = reference_prompts(tokenized.prompt_sets)
        model = load_model(name, device, dtype, processing_of(sites), folder, room, tokenizer, prompts)
        check_fit(model, sites)
        for site in sites if spread else []:
            site.sae.to_devices(model.block_devices[site.layer], model.device)
    return (model, sites), tokenized


def open_problem(
    request: OpenRequest,
    progress: Callable[[LoadProgress], None],
    circuit: CircuitFile | None = None,
    loaded: ModelAndSites | None = None,
) -> OpenedProblem:
    """Opens the problem of `request`. All nodes that `circuit` names become candidates, firing or not.

    `loaded` is the result of `load_model_and_sites` for the same model and SAEs, if they are loaded already.

    Raises:
        UserError: something cannot be found, does not fit, or makes no sense together.
    """
    if request.batch is not None and request.batch < 1:
        raise UserError(f"--batch {request.batch}: must be at least 1")
    tokenized: TokenizedTask | None = None
    if loaded is None:
        loaded, tokenized = _load(request, progress)
    model, sites = loaded
    progress(LoadProgress("tokenizing the task", 3, _STAGES))
    if tokenized is None or model.device.type != "cpu":
        tokenized = tokenize_task(request, task_of(request), model.tokenizer, sites, model.device)
    task, source, notes, sets = tokenized.task, tokenized.source, tokenized.notes, tokenized.prompt_sets
    check_tokens(model, sets, task.name)
    alignment = align(pick_kind(request.positions, sets), sets, task.name)
    notes += _notes_on_roles(alignment) + _notes_on_weights(model)
    progress(LoadProgress("comparing with Hugging Face's own pass", 4, _STAGES))
    size = request.batch or _fitting_batch(model, sites, sets)
    model.padding_side = request.padding
    with explain_oom("comparing with Hugging Face's own pass"):
        check_model(model, sets, size)
    while True:
        try:
            problem = build_problem(
                model, sites, task, sets, alignment, request.ablation, request.errors, size, RESAMPLE_SEED,
                () if circuit is None else _all_nodes(circuit, sites, alignment.names),
                lambda text: progress(LoadProgress(f"running the {text}", 5, _STAGES)),
            )  # fmt: skip
            break
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            failure = error.with_traceback(None)  # the traceback holds every tensor of the pass
        size = halve_prompts(size or max(len(prompts) for prompts in sets.values()), "running the model", failure)
    progress(LoadProgress("evaluating", 6, _STAGES))
    return OpenedProblem(
        problem, BUNDLED if request.model is None else model.name, source, request.chat, tokenized.bos, notes
    )


def _notes_on_weights(model: LanguageModel) -> tuple[str, ...]:
    """Returns a sentence about weights of the checkpoint that the model leaves out.

    Hugging Face leaves them out too, and most are no fault: buffers, a vision tower, heads for other uses. So the model
    is not refused; but biases or a layer that a configuration forgets would be among them.
    """
    unused = model.unused_weights
    if not unused:
        return ()
    names = ", ".join(unused[:3]) + (f" and {len(unused) - 3} more" if len(unused) > 3 else "")
    one = "a weight" if len(unused) == 1 else f"{len(unused)} weights"
    return (f"The checkpoint has {one} that this architecture and config.json do not use: {names}.",)


def _notes_on_roles(alignment: Alignment) -> tuple[str, ...]:
    """Returns the note on unseen prompts that are not spliced everywhere."""
    roles = alignment.unspliced_roles
    if not roles:
        return ()
    return (
        f"Only unseen prompts have the {'role' if len(roles) == 1 else 'roles'} {', '.join(roles)}: nothing is spliced "
        "in there, and what the model knows at these words reaches the answer past the circuit.",
    )


def _fitting_batch(model: LanguageModel, sites: Sequence[Site], sets: Mapping[Split, PromptSet]) -> int | None:
    """Returns how many prompts fit into a pass beside everything that is loaded; None if all do."""
    config, site_shapes = model.bridge.cfg, tuple(SiteShape(site.sae.d_sae, site.depth) for site in sites)
    shape = ModelShape(0, model.d_model, model.n_layers, int(config.n_heads), int(config.d_vocab), site_shapes, 0)
    longest = max(side.tokens.shape[1] for prompts in sets.values() for side in (prompts.clean, prompts.corrupt))
    a_prompt = bytes_a_prompt(shape, longest, model.dtype.itemsize) * sets["train"].answers.rows_per_prompt
    shares = {device: model.block_devices.count(device) / model.n_layers for device in model.block_devices}
    return largest_batch(a_prompt, max(len(prompts) for prompts in sets.values()), shares)


def _all_nodes(file: CircuitFile, sites: Sequence[Site], positions: Sequence[str]) -> list[tuple[int, int, int]]:
    """Returns all nodes of the circuit and the snapshots of `file`, each once (`nodes_of`)."""
    nodes = itertools.chain(file.nodes(), file.annotated_nodes(), *file.snapshot_nodes().values())
    return nodes_of(dict.fromkeys(nodes), sites, positions)


def nodes_of(
    nodes: Iterable[tuple[str, str, int]], sites: Sequence[Site], positions: Sequence[str]
) -> list[tuple[int, int, int]]:
    """Returns the (site, position, latent) of each (hook, position name, latent), as indices into the arguments.

    Raises:
        UserError: a hook or position is not among them, or a latent is out of its SAE's range.
    """
    by_hook = {site.hook: index for index, site in enumerate(sites)}
    by_name = {name: index for index, name in enumerate(positions)}
    indices = []
    for hook, position, latent in nodes:
        if hook not in by_hook:
            raise UserError(f"circuit: no SAE is spliced in at {hook}; open it with the file's own SAEs")
        if position not in by_name:
            raise UserError(f"circuit: the task has no position {position!r}; it has {', '.join(positions)}")
        d_sae = sites[by_hook[hook]].sae.d_sae
        if not 0 <= latent < d_sae:
            raise UserError(f"circuit: latent {latent} at {hook} is out of range: the SAE has {d_sae} latents")
        indices.append((by_hook[hook], by_name[position], latent))
    return indices


def saes_of(request: OpenRequest) -> tuple[tuple[str, ...], tuple[Path, ...]]:
    """Returns the names and the folders of the SAEs of `request`, or of its model's default SAEs.

    Raises:
        UserError: the model has no default SAEs, or no SAE fits the flags.
    """
    folders = request.sae_dirs
    names = request.saes
    if not folders or request.site_flags.given or any(":" not in name for name in names):
        names = choose_saes(names, request.site_flags, request.model)
    if not names and not folders:
        if request.model is not None:
            raise UserError(f"--model {request.model}: name its SAEs with --sae RELEASE:ID or --sae-dir DIR")
        folders = demo.sae_dirs()
    return tuple(names), tuple(folders)


def _sites(request: OpenRequest, device: torch.device, source: SaeSource) -> list[Site]:
    names, folders = saes_of(request)
    sites = load_saes(names, folders, device, source)
    for site in sites:
        if Path(site.sae.path).resolve().is_relative_to(demo.model_dir().parent.resolve()):
            site.sae.release = BUNDLED
    if not request.sites:
        return sites
    chosen = matching_hooks(request.sites, [Hook(site.hook, site.sae.hook_out) for site in sites])
    return [site for site in sites if site.hook in chosen]
