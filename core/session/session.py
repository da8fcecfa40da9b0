"""An open session: the one stateful object, synchronous, used by one thread.

It owns an experiment, the current circuit with its history and named snapshots, and the numbers computed of it.
Each edit is evaluated on the test prompts at once, or estimated where that takes long; the rest follows in `work`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from circuit_tui.core.audit.view import AuditView
from circuit_tui.core.circuits.circuit_file import read_circuit, write_export
from circuit_tui.core.circuits.mask_file import ENDING, is_mask_file
from circuit_tui.core.circuits.provenance import Provenance
from circuit_tui.core.circuits.schema import CircuitFile
from circuit_tui.core.errors import UserError
from circuit_tui.core.opening.experiment import Experiment, open_experiment
from circuit_tui.core.opening.identity import fingerprint
from circuit_tui.core.opening.open_circuit import open_circuit, request_of
from circuit_tui.core.opening.request import OpenRequest
from circuit_tui.core.outputs.output_file import check_output
from circuit_tui.core.runtime.device_memory import memory_use
from circuit_tui.core.search.open_search import open_search
from circuit_tui.core.search.search import Search
from circuit_tui.core.search.spec import SearchSpec
from circuit_tui.core.session.audits import Audits
from circuit_tui.core.session.background import Background
from circuit_tui.core.session.export import circuit_file
from circuit_tui.core.session.history import History
from circuit_tui.core.session.info import session_info
from circuit_tui.core.session.latent_view import latent_view
from circuit_tui.core.session.node_table import label_of, node_table
from circuit_tui.core.session.prompt_views import prompt_view, prompts_view
from circuit_tui.core.session.snapshots import Snapshots
from circuit_tui.core.session.state import SessionState
from circuit_tui.core.views import (
    CircuitView,
    FrontierPoint,
    LatentView,
    LoadProgress,
    MemoryUse,
    PromptsView,
    PromptView,
    SearchResult,
    SnapshotComparison,
)


def open_session(request: OpenRequest, progress: Callable[[LoadProgress], None] = lambda stage: None) -> Session:
    """Opens what `request` asks for. With a circuit file it opens what that names, with the file's circuit in it.

    Raises:
        UserError: anything that cannot be found, does not fit, or is not what the circuit file was made with.
    """
    path = request.circuit
    if path is None:
        return Session(open_experiment(request, progress))
    file = None if is_mask_file(path) else read_circuit(path)
    asked = request if file is None else request_of(file, request, path.parent)
    session = Session(open_experiment(asked, progress, file))
    session.open_circuit(path)
    return session


class Session:
    """See the module. Nodes are the numbers of `table`.

    Attributes:
        experiment: the problem that is open, with its evaluators.
        table: the candidate nodes.
        info: facts that hold while the session is open.
    """

    def __init__(self, experiment: Experiment, clock: Callable[[], float] = time.perf_counter) -> None:
        self.experiment, self.problem = experiment, experiment.problem
        self.table = node_table(self.problem)
        self.info = session_info(experiment)
        self._audits = Audits(experiment)
        self._history = History(torch.zeros(len(self.problem.space), dtype=torch.bool))
        self._background = Background(experiment.test, experiment.train, self.kept, clock)
        self._snapshots = Snapshots(experiment.test)
        self._search: Search | None = None
        self._provenance = Provenance()
        self._version, self._change, self._dirty = 0, "", False
        self._before: float | None = None

    @property
    def kept(self) -> Tensor:
        """The current circuit, `[node]` bool."""
        return self._history.kept

    @property
    def provenance(self) -> Provenance:
        """Where the current circuit came from."""
        return self._provenance

    def view(self) -> CircuitView:
        """The current circuit as the screen sees it."""
        work, kept = self._background, self.kept
        return CircuitView(
            version=self._version,
            kept=bytes(kept.to(torch.uint8).tolist()),
            size=int(kept.sum()),
            size_by_site=self.problem.space.counts(kept),
            test=work.test,
            train=work.train,
            effect=work.effect_column(),
            effects_done=len(work.effects),
            last_change=self._change,
            delta=None if self._before is None else work.test.faithfulness - self._before,
            can_undo=self._history.can_undo,
            can_redo=self._history.can_redo,
            snapshots=tuple(self._snapshots.circuits),
            dirty=self._dirty,
            estimated=work.estimated,
        )

    def memory_use(self) -> MemoryUse | None:
        """How full the device is, where that can be said."""
        return memory_use(self.problem.model.devices)

    def compare(self, name: str) -> SnapshotComparison:
        """The current circuit beside a remembered one. Raises UserError if there is none of that name."""
        theirs, ours = self._snapshots.circuit(name), self.kept
        self._background.be_exact()
        return SnapshotComparison(
            name=name,
            only_current=tuple((ours & ~theirs).nonzero()[:, 0].tolist()),
            only_snapshot=tuple((theirs & ~ours).nonzero()[:, 0].tolist()),
            both=int((ours & theirs).sum()),
            current=self._background.test,
            snapshot=self.experiment.test.evaluate(theirs).result(),
        )

    def work(self) -> bool:
        """Computes one more of the numbers that can wait; returns whether more remains."""
        if not self._background.done:
            self._background.advance()
        elif not self._snapshots.done:
            self._snapshots.advance()
        elif self._audits.advance(self.kept):
            self._dirty = True  # minutes of work are worth a question before they are lost
        return not (self._background.done and self._snapshots.done) or self._audits.under_way(self.kept)

    def latent_view(self, site: int, latent: int) -> LatentView:
        """One latent looked at closely. Raises UserError if it is not one of the SAE's."""
        self._check_site(site)
        d_sae = self.problem.sites[site].sae.d_sae
        if not 0 <= latent < d_sae:
            raise UserError(f"latent {latent}: out of range, the SAE has {d_sae}")
        label = label_of(self.table, site, latent)
        steps, path = (self._search.masks.steps, self._search.masks.masks) if self._search else ([], [])
        return latent_view(self.problem, site, latent, label, steps, path)

    def prompts_view(self) -> PromptsView:
        """All test prompts, worst first."""
        self._background.be_exact()
        return prompts_view(self._background.live, self._version)

    def prompt_view(self, index: int) -> PromptView:
        """One test prompt and the kept nodes that fire on it."""
        if not 0 <= index < len(self.problem.splits["test"]):
            raise UserError(f"prompt {index}: out of range")
        self._background.be_exact()
        return prompt_view(self._background.live, index)

    def toggle_node(self, node: int) -> None:
        """Switches one node."""
        self._check_node(node)
        kept = self.kept.clone()
        kept[node] = not kept[node]
        self._become(kept, f"{self._name(node)} {'on' if kept[node] else 'off'}")

    def toggle_latent(self, site: int, latent: int) -> None:
        """Switches a latent at all its positions: off if any is on, else on."""
        chosen = (self.problem.space.site == site) & (self.problem.space.latent == latent)
        if not chosen.any():
            raise UserError(f"latent {latent} at site {site}: not a candidate")
        self._switch(chosen, f"{self.problem.sites[site].short} {latent}")

    def toggle_site(self, site: int) -> None:
        """Switches all candidates of a site: off if any is on, else on."""
        self._check_site(site)
        self._switch(self.problem.space.site == site, f"{self.problem.sites[site].short} all")

    def invert(self) -> None:
        """Keeps what was not kept, and the other way round."""
        self._become(~self.kept, "inverted")

    def only(self, nodes: Collection[int]) -> None:
        """Keeps these nodes and no others."""
        self.replace(nodes, f"only {len(nodes)} nodes")

    def replace(self, nodes: Collection[int], change: str) -> None:
        """Makes the circuit of these nodes the current one; `change` says why."""
        self._become(self._mask(nodes), change)

    def undo(self) -> None:
        """Takes the last edit back. Raises UserError if there is none."""
        self._refresh(f"undo: {self._history.undo().text}")

    def redo(self) -> None:
        """Makes the last undone edit again. Raises UserError if there is none."""
        self._refresh(f"redo: {self._history.redo().text}")

    def save_snapshot(self, name: str) -> None:
        """Remembers the current circuit under a name; an old one of that name is replaced."""
        if not name.strip():
            raise UserError("snapshot: give it a name")
        self._snapshots.save(name.strip(), self.kept, self._background.test if self._background.done else None)
        self._dirty = True

    def restore_snapshot(self, name: str) -> None:
        """Makes a remembered circuit current (undoable). Raises UserError if there is none of that name."""
        self._become(self._snapshots.circuit(name), f"snapshot {name}")

    def search(self, spec: SearchSpec) -> Search:
        """Returns a search that has not begun. Raises UserError when it cannot be or is not worth beginning."""
        experiment = self.experiment
        self._search = open_search(self.problem, experiment.train, experiment.test, spec)
        return self._search

    def adopt(self, result: SearchResult) -> None:
        """Makes the circuit that a search found current (undoable)."""
        self._become(self._mask(result.nodes), f"found by {result.method}")
        self._provenance = Provenance.of_search(result, self.kept)
        self._dirty = True

    def frontier(self) -> tuple[FrontierPoint, ...]:
        """Returns what the search under way or last run has found so far, ascending in size; empty before one."""
        return self._search.frontier() if self._search else ()

    def load_frontier(self, size: int) -> None:
        """Makes the circuit of that size on the frontier current (undoable). Raises UserError if there is none."""
        search = self._search
        point = search.circuit(size) if search else None
        if search is None or point is None:
            raise UserError(f"frontier: there is no circuit of {size} nodes on it")
        self._become(point.kept, f"frontier: {size} nodes")
        self._provenance, self._dirty = _on_frontier(search, point.kept, point.faithfulness), True

    def start_audit(self, text: Path | None = None, *, full: bool = False) -> None:
        """Begins an audit of the current circuit: see `Audits.start`."""
        self._audits.start(self.kept, self._provenance, text, full=full)

    def stop_audit(self) -> None:
        """Ends the audit where it is; its measured lines stay. Raises UserError if none is under way."""
        self._audits.stop(self.kept)

    def audit_view(self) -> AuditView | None:
        """Returns what audits know of the current circuit, None before one."""
        return self._audits.view(self.kept)

    def circuit_file(self) -> CircuitFile:
        """Returns the file of the current circuit; null for numbers that are not computed yet."""
        audit, snapshots = self._audits.part(self.kept), self._snapshots.parts(self.table)
        return circuit_file(self.experiment, self.table, self.view(), self._provenance, audit, snapshots)

    def export(self, path: Path, *, force: bool = False) -> Path:
        """Writes the circuit and the snapshots with every number computed (`write_export`); returns the absolute path.

        Raises:
            ForeignFileError: there is a file that this program did not write, and `force` is not given.
            UserError: it cannot be written there; nothing is then changed.
        """
        check_output(path, force=force)
        self._background.complete()
        self._snapshots.complete()
        written = write_export(self.circuit_file(), path)
        self._dirty = path.name.endswith(ENDING) and bool(self._snapshots.circuits)  # masks do not hold them
        return written

    def open_circuit(self, path: Path) -> None:
        """Makes the circuit of a file current (undoable), if it was made with what is open; adds its snapshots.

        Raises:
            UserError: the file is damaged, or model, SAEs, prompts or ablation differ, or a node is no candidate here.
        """
        opened = open_circuit(path, self.experiment.opened)
        self._become(opened.kept, f"opened {path.name}")
        self._provenance, self._dirty = opened.provenance, False
        self._snapshots.add(opened.snapshots, path.name)
        self._audits.remember(self.kept, opened.audit)

    def fingerprint(self) -> dict[str, Any]:
        """Returns what is open: a stored state can be restored only where this is equal. JSON values."""
        return fingerprint(self.experiment)

    def state(self) -> dict[str, Any]:
        """Returns all that the user has done, as JSON values."""
        return SessionState(self._history, self._snapshots.circuits, self._provenance, self._change, self._dirty).data()

    def restore(self, state: dict[str, Any]) -> None:
        """Becomes what `state` says, undo and redo included.

        Raises:
            UserError: it is no such state, or that of another problem.
        """
        stored = SessionState.of(state, len(self.problem.space))
        self._history, self._provenance = stored.history, stored.provenance
        self._snapshots.replace_all(stored.snapshots)
        self._refresh(stored.change)
        self._dirty = stored.dirty

    def _mask(self, nodes: Collection[int]) -> Tensor:
        kept = torch.zeros(len(self.problem.space), dtype=torch.bool)
        for node in nodes:
            self._check_node(node)
        kept[torch.tensor(sorted(nodes), dtype=torch.long)] = True
        return kept

    def _check_node(self, node: int) -> None:
        if not 0 <= node < len(self.table):
            raise UserError(f"node {node}: out of range, there are {len(self.table)}")

    def _check_site(self, site: int) -> None:
        if not 0 <= site < len(self.problem.sites):
            raise UserError(f"site {site}: out of range, there are {len(self.problem.sites)}")

    def _name(self, node: int) -> str:
        site = self.problem.sites[self.table.site[node]].short
        return f"{site} {self.table.latent[node]}@{self.table.positions[self.table.position[node]]}"

    def _switch(self, chosen: Tensor, name: str) -> None:
        kept, on = self.kept.clone(), not bool(self.kept[chosen].any())
        kept[chosen] = on
        self._become(kept, f"{name} {'on' if on else 'off'}")

    def _become(self, kept: Tensor, change: str) -> None:
        self._history.become(kept, change)
        self._refresh(change)

    def _refresh(self, change: str) -> None:
        self._change, self._version = change, self._version + 1
        self._before = self._background.test.faithfulness
        if not torch.equal(self._background.kept, self.kept):  # else what is known of the circuit still holds
            self._background.follow(self.kept)
            self._dirty = True


def _on_frontier(search: Search, kept: Tensor, faithfulness: float) -> Provenance:
    """Returns the provenance of a circuit on the frontier of a search; `faithfulness` is on the search prompts."""
    result = search.result
    if result is not None and result.nodes == frozenset(kept.nonzero()[:, 0].tolist()):
        return Provenance.of_search(result, kept)
    spec = search.spec
    warning = (
        f"A point of the frontier of a search for {spec.target:.2f}, not the circuit it ended in: faithfulness "
        f"on the search prompts is {faithfulness:.3f}."
    )
    reached = search.reaches(faithfulness)
    return Provenance(spec.method, dict(spec.settings), spec.seed, spec.target, reached, False, (warning,), kept)
