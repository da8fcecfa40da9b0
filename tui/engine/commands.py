"""The commands of the screen to the engine: one frozen dataclass for each."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from circuit_tui.core.attribution.parts import Target
from circuit_tui.core.jobs.job import Job
from circuit_tui.core.latents.annotations import AnnotationEdit
from circuit_tui.core.opening.request import OpenRequest
from circuit_tui.core.outputs.table import Table
from circuit_tui.core.prompting.report import FreePrompt
from circuit_tui.core.search.spec import SearchSpec
from circuit_tui.core.session.table_request import TableRequest
from circuit_tui.core.views import SearchProgress, SearchResult
from circuit_tui.tui.engine.session_protocol import SessionLike


@dataclass(frozen=True, slots=True)
class ToggleNode:
    """Switch one node on or off."""

    node: int


@dataclass(frozen=True, slots=True)
class ToggleLatent:
    """Switch a latent at all its positions: off if any is on."""

    site: int
    latent: int


@dataclass(frozen=True, slots=True)
class ToggleSite:
    """Switch a whole site: off if any of it is on."""

    site: int


@dataclass(frozen=True, slots=True)
class Invert:
    """Keep what is off, drop what is on."""


@dataclass(frozen=True, slots=True)
class KeepOnly:
    """Keep these nodes and no others."""

    nodes: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Annotate:
    """Edit labels, notes, marks or groups."""

    edit: AnnotationEdit


@dataclass(frozen=True, slots=True)
class ToggleGroup:
    """Switch a group as one: off if any of it is on."""

    name: str


@dataclass(frozen=True, slots=True)
class Undo:
    """Undo the last edit."""


@dataclass(frozen=True, slots=True)
class Redo:
    """Redo the last edit that was undone."""


@dataclass(frozen=True, slots=True)
class SaveSnapshot:
    """Give the current circuit a name."""

    name: str


@dataclass(frozen=True, slots=True)
class RestoreSnapshot:
    """Make a named circuit the current one."""

    name: str


@dataclass(frozen=True, slots=True)
class CompareSnapshot:
    """Compare the current circuit with a named one."""

    name: str


@dataclass(frozen=True, slots=True)
class StartSearch:
    """Search for a circuit."""

    spec: SearchSpec


@dataclass(frozen=True, slots=True)
class PauseSearch:
    """Pause the search after this step, or continue it."""


@dataclass(frozen=True, slots=True)
class StopSearch:
    """End the search within one step and take the circuit it has by then."""


@dataclass(frozen=True, slots=True)
class StartAudit:
    """Audit the current circuit in the background.

    `text` is what the cost of the splice is measured on. The audit's own searches are quick, or `full` like the
    circuit's own.
    """

    text: Path | None = None
    full: bool = False


@dataclass(frozen=True, slots=True)
class StopAudit:
    """Stop the audit; its findings so far stay."""


@dataclass(frozen=True, slots=True)
class LoadFrontier:
    """Make the frontier's circuit of `size` nodes the current one."""

    size: int


@dataclass(frozen=True, slots=True)
class Adopt:
    """Make what a search of this session has found the current circuit."""

    result: SearchResult


@dataclass(frozen=True, slots=True)
class ShowLatent:
    """Compute the details of one latent."""

    site: int
    latent: int


@dataclass(frozen=True, slots=True)
class ShowPrompts:
    """Compute the row of every test prompt for the current circuit."""


@dataclass(frozen=True, slots=True)
class ShowPrompt:
    """Compute which kept nodes are active on one test prompt."""

    index: int


@dataclass(frozen=True, slots=True)
class ExplainPrompt:
    """Compute what each kept node contributes to the answer of one test prompt."""

    index: int


@dataclass(frozen=True, slots=True)
class ShowLatentPrompts:
    """Compute on which test prompts some nodes matter most."""

    nodes: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class ShowTextExamples:
    """Compute where a latent fires in a text of the user's."""

    site: int
    latent: int
    path: Path


@dataclass(frozen=True, slots=True)
class ShowEdges:
    """Compute the edges of the circuit, those of end number `end` first; None is the logit difference."""

    end: int | None = None


@dataclass(frozen=True, slots=True)
class ExplainEdge:
    """Take the attention score of a head that carries an edge between two ends apart; None is the strongest head."""

    source: int
    target: int
    head: tuple[int, int] | None = None


@dataclass(frozen=True, slots=True)
class SwitchEdge:
    """Switch one edge, between two ends, off or on."""

    source: int
    target: int


@dataclass(frozen=True, slots=True)
class TryPrompt:
    """Run the current circuit on a prompt of the user's, and take M's answer apart."""

    prompt: FreePrompt


@dataclass(frozen=True, slots=True)
class ExpandTarget:
    """Take one more latent of the prompt that is tried apart."""

    target: Target


@dataclass(frozen=True, slots=True)
class Export:
    """Write the circuit file; with `force` also over a file that circuit-tui did not write."""

    path: Path
    force: bool = False


@dataclass(frozen=True, slots=True)
class ExportTable:
    """Write a table, or one that is at hand; with `force` also over a file that circuit-tui did not write."""

    wanted: TableRequest | Table
    path: Path
    force: bool = False


@dataclass(frozen=True, slots=True)
class AskIntervals:
    """Compute the 95% intervals of the frontier's held-out faithfulness."""


@dataclass(frozen=True, slots=True)
class OpenCircuit:
    """Replace the current circuit by the one in a file."""

    path: Path


@dataclass(frozen=True, slots=True)
class OpenAnother:
    """Open something else in place of what is open; with `leave_running` its search goes on in the background."""

    request: OpenRequest
    leave_running: bool = False


@dataclass(frozen=True, slots=True)
class Follow:
    """Show the progress of a search in another process; `trace` is empty before its first report."""

    job: Job
    spec: SearchSpec
    trace: tuple[SearchProgress, ...]


@dataclass(frozen=True, slots=True)
class Collect:
    """The search of another process has ended: take its circuit."""

    job: Job


Edit = (
    ToggleNode
    | ToggleLatent
    | ToggleSite
    | Invert
    | KeepOnly
    | Annotate
    | ToggleGroup
    | Undo
    | Redo
    | RestoreSnapshot
    | LoadFrontier
    | Adopt
    | OpenCircuit
)
# Edits that replace the whole circuit.
REPLACING = (RestoreSnapshot, LoadFrontier, Adopt, OpenCircuit)
View = (
    ShowLatent
    | ShowPrompts
    | ShowPrompt
    | ExplainPrompt
    | ShowLatentPrompts
    | ShowTextExamples
    | ShowEdges
    | CompareSnapshot
    | TryPrompt
)
AuditCommand = StartAudit | StopAudit
ExportCommand = Export | ExportTable
Command = (
    Edit
    | View
    | ExpandTarget
    | SaveSnapshot
    | SwitchEdge
    | ExplainEdge
    | StartSearch
    | PauseSearch
    | StopSearch
    | ExportCommand
    | AskIntervals
    | OpenAnother
    | Follow
    | Collect
    | AuditCommand
)


def apply_edit(session: SessionLike, edit: Edit) -> None:
    """Make the edit in `session`. Raises UserError where the session does."""
    match edit:
        case ToggleNode(node):
            session.toggle_node(node)
        case ToggleLatent(site, latent):
            session.toggle_latent(site, latent)
        case ToggleSite(site):
            session.toggle_site(site)
        case Invert():
            session.invert()
        case KeepOnly(nodes):
            session.only(nodes)
        case Annotate(said):
            session.annotate(said)
        case ToggleGroup(name):
            session.toggle_group(name)
        case Undo():
            session.undo()
        case Redo():
            session.redo()
        case RestoreSnapshot(name):
            session.restore_snapshot(name)
        case LoadFrontier(size):
            session.load_frontier(size)
        case Adopt(result):
            session.adopt(result)
        case OpenCircuit(path):
            session.open_circuit(path)


def latest_wins(commands: list[Command]) -> list[Command]:
    """Order a backlog: edits first, as given, then only the newest view of each kind."""
    edits = [command for command in commands if not isinstance(command, View)]
    views: dict[type, Command] = {}
    for command in commands:
        if isinstance(command, View):
            views.pop(type(command), None)
            views[type(command)] = command
    return [*edits, *views.values()]
