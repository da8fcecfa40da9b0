"""The SAEs that sae-lens knows by release and id, read from its registry without a network."""

from __future__ import annotations

import re
from dataclasses import dataclass

_HOOK = re.compile(r"blocks\.\d+\.[a-z_.]*hook_[a-z_]+")
_LAYER = re.compile(r"(?:^|[/_])(?:layer_|l)(\d+)(?:r_|[/_]|$)")


@dataclass(frozen=True, slots=True)
class KnownSae:
    """One SAE of the registry. `hook` is None where neither id nor path names it; so is `neuronpedia_id`."""

    release: str
    id: str
    model: str
    hook: str | None
    neuronpedia_id: str | None


def known_saes(query: str = "") -> tuple[KnownSae, ...]:
    """All SAEs whose release, id, model and hook together hold every word of `query`, upper and lower case alike."""
    from sae_lens.loading.pretrained_saes_directory import get_pretrained_saes_directory

    words = query.lower().split()
    found = []
    for release, entry in get_pretrained_saes_directory().items():
        for sae_id, path in entry.saes_map.items():
            label = entry.neuronpedia_id.get(sae_id)
            sae = KnownSae(release, sae_id, entry.model, _hook(release, sae_id, path, label), label)
            text = f"{sae.release} {sae.id} {sae.model} {sae.hook or ''}".lower()
            if all(word in text for word in words):
                found.append(sae)
    return tuple(found)


def _hook(release: str, sae_id: str, path: str, label: str | None) -> str | None:
    """The hook as far as names tell: written out, or a layer number of a release of residual SAEs."""
    for text in (sae_id, path):
        written = _HOOK.search(text)
        if written:
            return written[0]
    layer = _LAYER.search(sae_id)
    if layer and ("-res" in (label or "") or release.endswith(("-res", "-res-canonical"))):
        return f"blocks.{layer[1]}.hook_resid_post"
    return None
