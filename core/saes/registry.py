"""The SAEs by release and id: those that come with the program, and those that sae-lens knows.

sae-lens' registry is read without a network. It has names of files and little else: layer, hook, width and L0 are read
from these names, and are None where they do not tell. Sizes of downloads are computed from the widths of SAE and model.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass

from circuit_tui.core.example_files import example_dir
from circuit_tui.core.saes.sae_filter import n_latents_of, parse_width

_HOOK = re.compile(r"blocks\.\d+\.(?:[a-z]+\.)?hook_[a-z]+(?:_[a-z]+)*")
_LAYER = re.compile(r"(?:^|[/_.-])(?:layer_?|blocks\.|l)(\d+)(?:[ramt]c?_|[/_.]|$)")
_WIDTHS = (
    re.compile(r"width_(\d+)([km])", re.I),
    re.compile(r"\d+-[a-z0-9_-]*?-(\d+)([km])(?:_|$)", re.I),  # a Neuronpedia source: 12-gemmascope-res-16k
    re.compile(r"[-_]w?(\d+)(k)(?:-|_|$)", re.I),
    re.compile(r"2pow(\d+)"),
    re.compile(r"[-_](\d{3,6})(?:_anthropic)?(?::v\d+)?$"),
    re.compile(r"_ds(\d+)_"),
)
_L0 = re.compile(r"l0[-_](\d+)")
_KINDS = (
    (re.compile(r"^gemma-scope-2b-pt-transcoders"), "ln2.hook_normalized"),
    (re.compile(r"^mwhanna"), "mlp.hook_in"),
    (re.compile(r"transcoder|clt"), "hook_mlp_in"),
    (re.compile(r"^llama_scope_lxa"), "hook_attn_out"),
    (re.compile(r"-att(?:-|$)"), "attn.hook_z"),
    (re.compile(r"-mlp(?:-|$)|^llama_scope_lxm"), "hook_mlp_out"),
    (re.compile(r"-res(?:-|$)|^llama_scope_(?:lxr|r1)|^qwen-scope|andyrdt|^goodfire"), "hook_resid_post"),
)  # fmt: skip
# Widths that no name of the release tells.
_RELEASE_WIDTH = {
    "gpt2-small-res-jb": 24576,
    "gpt2-small-mlp-tm": 24576,
    "pythia-70m-deduped-res-sm": 32768,
    "pythia-70m-deduped-att-sm": 32768,
    "pythia-70m-deduped-mlp-sm": 32768,
}
_D_MODEL = {
    "gpt2-small": 768,
    "pythia-70m-deduped": 512,
    "gemma-2b": 2048,
    "gemma-2b-it": 2048,
    "gemma-2-2b": 2304,
    "gemma-2-9b": 3584,
    "gemma-2-9b-it": 3584,
    "gemma-2-27b": 4608,
    "gemma-3-270m": 640,
    "gemma-3-1b": 1152,
    "gemma-3-4b": 2560,
    "gemma-3-12b": 3840,
    "gemma-3-27b": 5376,
    "llama-3.1-8b": 4096,
    "llama-3.1-8b-instruct": 4096,
    "mistral-7b": 4096,
}
# Bytes of one stored number, where it is not a float32.
_NUMBER_BYTES = {"llama_scope": 2, "deepseek_r1": 2}


SHIPPED = "shipped"
"""The loader of SAEs that come with the program: folders in sae-lens' layout."""
SHIPPED_RELEASES = {"smollm2-135m-res": "smollm2"}
"""The releases that come with the program, each with its folder in ``examples/``."""


@dataclass(frozen=True, slots=True)
class RegisteredSae:
    """One SAE of the registry; a field is None where no name tells.

    Attributes:
        release, id: its name, as ``RELEASE:ID``.
        model: the model that it was trained on.
        hook, layer: the hook that it reads, and the hook's block.
        width: d_sae.
        l0: the mean number of latents that fire on a token, as its makers measured it.
        neuronpedia_id: its name on Neuronpedia.
        repo, path: where it is on the Hub; an SAE that comes with the program has no repo, and `path` is its folder.
        loader: the layout of its files, by sae-lens' name; ``SHIPPED`` for a folder that comes with the program.
    """

    release: str
    id: str
    model: str
    hook: str | None
    layer: int | None
    width: int | None
    l0: float | None
    neuronpedia_id: str | None
    repo: str
    path: str
    loader: str

    @property
    def name(self) -> str:
        """Its name for ``--sae``."""
        return f"{self.release}:{self.id}"

    @property
    def estimated_bytes(self) -> int | None:
        """Bytes of encoder and decoder, computed from the widths of SAE and model; None where one is unknown."""
        d_model = _D_MODEL.get(re.sub(r"-pt$|(?<=\d[bm])-it$", "", self.model.rpartition("/")[2].lower()))
        if self.width is None or d_model is None or (self.hook or "").endswith("hook_z"):
            return None
        return 2 * self.width * d_model * _NUMBER_BYTES.get(self.loader, 4)


def find_saes(query: str = "") -> tuple[RegisteredSae, ...]:
    """All SAEs with every word of `query` in release, id, model or hook, upper and lower case alike."""
    words = query.lower().split()
    found = []
    for release in releases():
        for sae in saes_of(release):
            text = f"{sae.release} {sae.id} {sae.model} {sae.hook or ''}".lower()
            if all(word in text for word in words):
                found.append(sae)
    return tuple(found)


def releases() -> tuple[str, ...]:
    """The names of all releases."""
    from sae_lens.loading.pretrained_saes_directory import get_pretrained_saes_directory

    return (*SHIPPED_RELEASES, *get_pretrained_saes_directory())


def saes_of(release: str) -> tuple[RegisteredSae, ...]:
    """The SAEs of one release, in the registry's order.

    Raises:
        KeyError: there is no such release.
    """
    if release in SHIPPED_RELEASES:
        return _shipped_saes(release)
    from sae_lens.loading.pretrained_saes_directory import get_pretrained_saes_directory

    entry = get_pretrained_saes_directory()[release]
    found = []
    for sae_id, path in entry.saes_map.items():
        label = entry.neuronpedia_id.get(sae_id)
        hook, layer = _hook_and_layer(release, sae_id, path)
        found.append(
            RegisteredSae(
                release,
                sae_id,
                entry.model,
                hook,
                layer,
                _width(release, (sae_id, path, label or "", release, entry.repo_id)),
                _l0(entry.expected_l0.get(sae_id), (path, sae_id, entry.repo_id.lower())),
                label,
                entry.repo_id,
                path,
                entry.conversion_func or "sae_lens",
            )
        )
    return tuple(found)


def width_text(width: int) -> str:
    """A width as releases write it and `parse_width` reads it: 16384 is ``16k``, 65536 ``65k``, 1000 ``1000``."""
    for unit, size in (("m", 1_000_000), ("k", 1000), ("k", 1024)):
        text = f"{width // size}{unit}"
        if width >= size and parse_width(text) == width:
            return text
    return str(width)


def _shipped_saes(release: str) -> tuple[RegisteredSae, ...]:
    """The SAEs of a release that comes with the program, by hook and name; their ids are the names of the folders."""
    found = []
    for folder in sorted((example_dir(SHIPPED_RELEASES[release]) / "saes").iterdir()):
        config = json.loads((folder / "cfg.json").read_text())
        metadata = config["metadata"]
        hook = str(metadata["hook_name"])
        found.append(
            RegisteredSae(
                release, folder.name, str(metadata["model_name"]), hook, int(hook.split(".")[1]),
                int(config["d_sae"]), metadata.get("l0"), None, "", str(folder), SHIPPED,
            )
        )  # fmt: skip
    return tuple(sorted(found, key=lambda sae: (sae.layer or 0, sae.id)))


def _width(release: str, texts: Sequence[str]) -> int | None:
    if release in _RELEASE_WIDTH:
        return _RELEASE_WIDTH[release]
    for pattern in _WIDTHS:
        for text in texts:
            match = pattern.search(text)
            if match is not None:
                if pattern.pattern.startswith("2pow"):
                    return int(2 ** int(match[1]))
                return n_latents_of(match[1], match[2] if pattern.groups > 1 else "")
    return None


def _l0(measured: float | None, texts: Sequence[str]) -> float | None:
    if measured:
        return float(measured)
    matches = (_L0.search(text) for text in texts)
    return next((float(match[1]) for match in matches if match is not None), None)


def _hook_and_layer(release: str, sae_id: str, path: str) -> tuple[str | None, int | None]:
    """Hook and layer as far as names tell: a hook written out, or a layer number in a release for one kind of hook."""
    for text in (sae_id, path):
        written = _HOOK.search(text)
        if written:
            return written[0], int(written[0].split(".")[1])
    found = _LAYER.search(sae_id) or _LAYER.search(path)
    if found is None or "embedding" in sae_id:
        return None, None
    layer = int(found[1])
    for pattern, hook in _KINDS:
        if pattern.search(release):
            return f"blocks.{layer}.{hook}", layer
    return None, layer
