"""One run of a sweep: what to open and how to search it. Equal orders have equal ids, and run once.

Imports no torch: orders are made before anything is loaded, so an id knows weights and tokenizers by their folder.
Their hashes, and that of the token ids, are in the record of a run: runs are compared by them (`opening/identity.py`).
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from circuit_tui.core.circuits.schema import BUNDLED
from circuit_tui.core.opening.request import OpenRequest
from circuit_tui.core.search.spec import SearchSpec

_TASK_FIELDS = ("task", "prompts_sha256", "positions", "ablation", "errors")


@dataclass(frozen=True, slots=True)
class RunOrder:
    """What to open, with the SHA-256 of its prompts, and how to search it."""

    request: OpenRequest
    spec: SearchSpec
    task: str
    prompts_sha256: str

    @property
    def id(self) -> str:
        """SHA-256 of the full specification: everything but where and how fast the run is computed."""
        return _hash(self.opening_spec | {"search": self.spec.data()})

    @property
    def loading_key(self) -> str:
        """SHA-256 of what has to be loaded: orders with the same key can share a model and SAEs."""
        return _hash({key: value for key, value in self.opening_spec.items() if key not in _TASK_FIELDS})

    @property
    def opening_key(self) -> str:
        """SHA-256 of what has to be opened: orders with the same key can share an experiment."""
        return _hash(self.opening_spec)

    @property
    def opening_spec(self) -> dict[str, Any]:
        """What is opened: folders by their resolved paths, prompts by the hash of their content."""
        request = self.request
        return {
            "model": BUNDLED if request.model is None else _resolved(request.model),
            "revision": request.revision,
            "saes": sorted(request.saes),
            "site_flags": asdict(request.site_flags),
            "sae_revisions": sorted(map(list, request.sae_revisions)),
            "sae_dirs": sorted(str(folder.expanduser().resolve()) for folder in request.sae_dirs),
            "sites": list(request.sites),
            "task": self.task,
            "prompts_sha256": self.prompts_sha256,
            "chat": request.chat,
            **({} if request.bos is None else {"bos": request.bos}),
            "positions": request.positions,
            "ablation": request.ablation,
            "errors": request.errors,
            "dtype": request.dtype,
        }

    @property
    def sites(self) -> str:
        """The sites to which the run is confined, as the command line writes them."""
        return "+".join(self.request.sites) or "all"

    def __str__(self) -> str:
        where = "" if self.sites == "all" else f" at {self.sites}"
        return f"{self.task} {self.spec.method} {self.spec.target:g} seed {self.spec.seed}{where}"


def _resolved(model: str) -> str:
    folder = Path(model).expanduser()
    return str(folder.resolve()) if folder.is_dir() else model


def _hash(data: dict[str, Any]) -> str:
    text = json.dumps(data, sort_keys=True, ensure_ascii=False, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()
