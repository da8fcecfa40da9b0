"""What a job is about, as JSON: what was opened, how it is searched, where the result goes. No torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any, Literal

from circuit_tui.core.opening.request import OpenRequest
from circuit_tui.core.search.spec import SearchSpec
from circuit_tui.core.views import SearchProgress

Kind = Literal["find", "explore", "detached"]


@dataclass(frozen=True, slots=True)
class JobSpec:
    """One job. `search` is None while no search is under way; `out` is where the circuit file is to be written.

    With `force` the file may replace one that this program did not write.

    `subject` is what the opened files held (hashes, sizes), by which a change is noticed; None before they are open.
    `folder` is the working directory that relative paths of `request` refer to.
    """

    kind: Kind
    request: OpenRequest
    search: SearchSpec | None
    out: Path | None
    folder: Path
    host: str
    created: str
    subject: dict[str, Any] | None = None
    force: bool = False

    def data(self) -> dict[str, Any]:
        """Returns it as JSON values."""
        return {
            "kind": self.kind,
            "request": _plain(asdict(self.request)),
            "order": None if self.search is None else self.search.data(),
            "out": None if self.out is None else str(self.out),
            "folder": str(self.folder),
            "host": self.host,
            "created": self.created,
            "subject": self.subject,
            **({"force": True} if self.force else {}),
        }

    @classmethod
    def of(cls, data: Mapping[str, Any]) -> JobSpec:
        """Reads what `data` wrote. Raises KeyError, TypeError or ValueError if it is something else."""
        from pydantic import TypeAdapter  # slow: not before the first frame

        request = TypeAdapter(OpenRequest).validate_python(data["request"])  # its error is a ValueError
        return cls(
            kind=data["kind"],
            request=request,
            search=None if data["order"] is None else SearchSpec.from_data(data["order"]),
            out=None if data["out"] is None else Path(data["out"]),
            folder=Path(data["folder"]),
            host=str(data["host"]),
            created=str(data["created"]),
            subject=data["subject"],
            force=bool(data.get("force", False)),
        )

    def from_anywhere(self) -> OpenRequest:
        """Returns the request with paths that hold in any working directory."""
        request, folder = self.request, self.folder
        model = request.model
        if model is not None and (folder / Path(model).expanduser()).exists():
            model = str(folder / Path(model).expanduser())
        return replace(
            request,
            model=model,
            sae_dirs=tuple(folder / path.expanduser() for path in request.sae_dirs),
            prompts=None if request.prompts is None else folder / request.prompts.expanduser(),
            circuit=None if request.circuit is None else folder / request.circuit.expanduser(),
        )


def progress_of(data: Mapping[str, Any]) -> SearchProgress:
    """Reads the report of a step from JSON values; keys that this version does not know are left out.

    Raises:
        TypeError, KeyError: they are something else.
    """
    known = {field.name: data[field.name] for field in fields(SearchProgress) if field.name in data}
    return SearchProgress(**{**known, "size_by_site": tuple(data["size_by_site"])})


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(part) for part in value]
    return str(value) if isinstance(value, Path) else value
