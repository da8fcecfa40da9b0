"""An open session: the one stateful object. It is synchronous and belongs to one thread.

A session owns an experiment, the current circuit with its history and named snapshots, and the circuit's numbers. Each
edit is evaluated on the test prompts at once, or estimated if that takes long; the other numbers follow in `work`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from circuit_tui.core.audit.view import AuditView
from circuit_tui.core.circuits.circuit_file import now, read_circuit, write_export
from circuit_tui.core.circuits.mask_file import ENDING, is_mask_file
from circuit_tui.core.circuits.provenance import Provenance
from circuit_tui.core.circuits.schema import CircuitFile
from circuit_tui.core.errors import UserError
from circuit_tui.core.latents.annotations import AnnotationEdit, Annotations, GroupView, apply_annotation
from circuit_tui.core.latents.views import Explanation, LatentColumns, LatentPrompts
from circuit_tui.core.opening.experiment import Experiment, open_experiment
from circuit_tui.core.opening.identity import fingerprint
from circuit_tui.core.opening.open_circuit import open_circuit, request_of
from circuit_tui.core.opening.request import OpenRequest
from circuit_tui.core.opening.splice_offers import offer_lines
from circuit_tui.core.outputs.output_file import check_output, claimed
from circuit_tui.core.runtime.device_memory import memory_use
from circuit_tui.core.search.search import Search
from circuit_tui.core.search.spec import SearchSpec
from circuit_tui.core.session.audits import Audits
from circuit_tui.core.session.background_work import BackgroundWork
from circuit_tui.core.session.circuit_numbers import CircuitNumbers
from circuit_tui.core.session.edges import SessionEdges
from circuit_tui.core.session.explanations import Explanations, latent_prompts
from circuit_tui.core.session.export import circuit_file
from circuit_tui.core.session.frontier_provenance import frontier_provenance
from circuit_tui.core.session.group_effects import GroupEffects
from circuit_tui.core.session.history import History
from circuit_tui.core.session.info import session_info
from circuit_tui.core.session.latent_columns import LatentColumnsWork
from circuit_tui.core.session.latent_view import latent_view
from circuit_tui.core.session.node_table import circuit_of, label_of, node_name, node_table
from circuit_tui.core.session.prompt_views import prompt_view, prompts_view
from circuit_tui.core.session.searches import Searches
from circuit_tui.core.session.site_switch import SiteSwitch
from circuit_tui.core.session.snapshots import Snapshots
from circuit_tui.core.session.state import SessionState
from circuit_tui.core.session.text_examples import text_examples
from circuit_tui.core.session.trial import Trial
from circuit_tui.core.views import (
    CircuitView,
    LatentView,
    LoadProgress,
    MemoryUse,
    PromptsView,
    PromptView,
    SearchResult,
    SnapshotComparison,
    TextExamples,
)


def open_session(request: OpenRequest, progress: Callable[[LoadProgress], None] = lambda stage: None) -> Session:
    """Opens what `request` asks for; with a circuit file, the experiment that the file names, with its circuit.

    Raises:
        UserError: something cannot be found, does not fit, or is not what the circuit file was made with.
    """
    path = request.circuit
    if path is None:
        return Session(open_experiment(request, progress))
    file = None if is_mask_file(path) else read_circuit(path)
    opening = request if file is None else request_of(file, request, path.parent)
    session = Session(open_experiment(opening, progress, file))
    session.open_circuit(path)
    return session


class Session:
    """An open experiment with the user's circuit. Nodes are rows of `table`.

    Attributes:
        experiment, table: the problem that is open, with its evaluators, and its candidate nodes.
        info, edges: facts that hold while the session is open; the circuit's edges as far as they are computed.
        searches, trial: what searches have found, with a frontier; the circuit on a prompt of the user's.
        splice_offers: what would help a search, if the splice costs much (`opening/splice_offers.py`).
    """

    def __init__(self, experiment: Experiment, clock: Callable[[], float] = time.perf_counter) -> None:
        self.experiment, self.problem = experiment, experiment.problem
        self.table = node_table(self.problem)
        self.info, self.splice_offers = session_info(experiment), partial(offer_lines, experiment)
        self._audits, self._columns = Audits(experiment), LatentColumnsWork(self.problem)
        self._explanations, self._site_switch = Explanations(self.problem), SiteSwitch(self.problem)
        self.edges = SessionEdges(experiment.test, self.table.label, lambda: self.kept)
        self.trial = Trial(experiment.opened, lambda: (self.kept, self._version))
        self._history = History(torch.zeros(len(self.problem.space), dtype=torch.bool))
        self._numbers = CircuitNumbers(experiment.test, experiment.train, self.kept, clock)
        self.searches, self._provenance = Searches(experiment), Provenance()
        self._snapshots = Snapshots(experiment.test)
        self._groups, self._said = GroupEffects(self._numbers), self.annotations
        parts = self._explanations, self._columns, self._snapshots, self._audits, self._groups, self.edges
        self._work = BackgroundWork(self._numbers, *parts, self.searches)
        self._version, self._last_change, self._dirty = 0, "", False
        self._previous_faithfulness: float | None = None

    @property
    def kept(self) -> Tensor:
        """The current circuit, `[node]` bool."""
        return self._history.kept

    @property
    def annotations(self) -> Annotations:
        """What the user says of latents and nodes."""
        return self._history.annotations

    @property
    def provenance(self) -> Provenance:
        """Where the current circuit came from."""
        return self._provenance

    def view(self) -> CircuitView:
        """Returns the current circuit with its numbers as a screen shows it."""
        numbers, kept = self._numbers, self.kept
        return CircuitView(
            version=self._version,
            kept=bytes(kept.to(torch.uint8).tolist()),
            size=int(kept.sum()),
            size_by_site=self.problem.space.counts(kept),
            test=numbers.test,
            train=numbers.train,
            effect=numbers.effect_column(),
            effects_done=len(numbers.effects),
            last_change=self._last_change,
            delta=self._delta(),
            can_undo=self._history.can_undo,
            can_redo=self._history.can_redo,
            snapshots=tuple(self._snapshots.circuits),
            dirty=self._dirty,
            standard_errors=numbers.errors,
            target=self.provenance.target,
        )

    def _delta(self) -> float | None:
        """Returns the change of test faithfulness by the last edit; None if either number of it must not be shown."""
        numbers, previous = self._numbers, self._previous_faithfulness
        withheld = numbers.errors is not None and numbers.errors.faithfulness is None
        return None if previous is None or withheld else numbers.test.faithfulness - previous

    def memory_use(self) -> MemoryUse | None:
        """Returns how full the device is; None if the device does not say."""
        return memory_use(self.problem.model.devices)

    def compare(self, name: str) -> SnapshotComparison:
        """Returns the current circuit beside a snapshot. Raises UserError if there is no snapshot of that name."""
        self._numbers.be_exact()
        return self._snapshots.compare(name, self.kept, self._numbers.test)

    def work(self) -> bool:
        """Runs one increment of background work; returns whether more is left."""
        if self._work.advance(self.kept, self.annotations):
            self._dirty = True  # an audit takes minutes: the user is asked before it is lost
        return self._work.left(self.kept, self.annotations)

    def latent_view(self, site: int, latent: int) -> LatentView:
        """Returns a close view of one latent. Raises UserError if the site or the latent is out of range."""
        self._check_latent(site, latent)
        search, label = self.searches.last, label_of(self.table, site, latent)
        steps, path = (search.masks.steps, search.masks.masks) if search else ([], [])
        columns, answered = self._columns, self._numbers.train_logit_diff
        return latent_view(self.problem, columns.readout, columns.names, site, latent, label, steps, path, answered)

    def text_examples(self, site: int, latent: int, path: Path) -> TextExamples:
        """Returns where a latent fires in a text. Raises UserError if there is no such latent or no such text."""
        self._check_latent(site, latent)
        return text_examples(self.problem, site, latent, path)

    def latent_columns(self) -> LatentColumns:
        """Returns the columns of the table that `work` computes: direct push, and tokens promoted and suppressed."""
        return self._columns.view()

    def prompts_view(self) -> PromptsView:
        """Returns all test prompts, the worst first."""
        self._numbers.be_exact()
        return prompts_view(self._numbers.live, self._version)

    def prompt_view(self, index: int) -> PromptView:
        """Returns one test prompt and the kept nodes that fire on it. Raises UserError if it is out of range."""
        if not 0 <= index < len(self.problem.splits["test"]):
            raise UserError(f"prompt {index}: out of range")
        self._numbers.be_exact()
        return prompt_view(self._numbers.live, index)

    def explain(self, index: int) -> Explanation:
        """Begins to compute why the circuit answers test prompt `index` as it does; returns what is known so far.

        `work` goes on with it before anything else. Raises UserError if there is no such prompt.
        """
        return self._explanations.begin(self.kept, index)

    def explanation(self) -> Explanation | None:
        """Returns what is known of the prompt that `explain` was asked for last; None if the circuit is another now."""
        return self._explanations.view(self.kept)

    def latent_prompts(self, nodes: Collection[int]) -> LatentPrompts:
        """Returns the test prompts on which `nodes` matter most, taken together. Raises UserError if there are none."""
        self._numbers.be_exact()
        return latent_prompts(self._numbers.live, circuit_of(self.table, nodes)).result()

    def toggle_node(self, node: int) -> None:
        """Toggles one node. Raises UserError if it is out of range."""
        kept = self.kept ^ circuit_of(self.table, [node])
        self._change_to(kept, f"{node_name(self.table, node)} {'on' if kept[node] else 'off'}")

    def toggle_latent(self, site: int, latent: int) -> None:
        """Toggles a latent at all its positions: off if any is on, else on. Raises UserError if it is no candidate."""
        chosen = (self.problem.space.site == site) & (self.problem.space.latent == latent)
        if not chosen.any():
            raise UserError(f"latent {latent} at site {site}: not a candidate")
        self._toggle_all(chosen, f"{self.problem.sites[site].short} {latent}")

    def toggle_site(self, site: int) -> None:
        """Toggles a whole site, as in `SiteSwitch`. Raises UserError if it is out of range."""
        self._check_site(site)
        self._change_to(*self._site_switch.toggled(self.kept, site))

    def invert(self) -> None:
        """Keeps the nodes that were not kept, and ablates the others."""
        self._change_to(~self.kept, "inverted")

    def only(self, nodes: Collection[int]) -> None:
        """Keeps exactly these nodes. Raises UserError if one is out of range."""
        self.replace(nodes, f"only {len(nodes)} nodes")

    def replace(self, nodes: Collection[int], change: str, file: CircuitFile | None = None) -> None:
        """Makes the circuit of these nodes the current one; `change` describes the edit, `file` how it was found."""
        self._change_to(circuit_of(self.table, nodes), change)
        self._provenance = Provenance.of_file(file, self.kept) if file else self._provenance

    def undo(self) -> None:
        """Takes the last edit back. Raises UserError if there is none."""
        self._follow_history(f"undo: {self._history.undo().text}")

    def redo(self) -> None:
        """Makes the last undone edit again. Raises UserError if there is none."""
        self._follow_history(f"redo: {self._history.redo().text}")

    def save_snapshot(self, name: str) -> None:
        """Stores the current circuit under a name, in place of an old one. Raises UserError if the name is blank."""
        if not name.strip():
            raise UserError("snapshot: give it a name")
        self._snapshots.save(name.strip(), self.kept, self._numbers.test if self._numbers.done else None)
        self._dirty = True

    def restore_snapshot(self, name: str) -> None:
        """Makes a snapshot the current circuit (undoable). Raises UserError if there is no snapshot of that name."""
        self._change_to(self._snapshots.circuit(name), f"snapshot {name}")

    def annotate(self, edit: AnnotationEdit) -> None:
        """Edits labels, notes, marks or groups (undoable). Raises UserError where `apply_annotation` does."""
        said, change = apply_annotation(edit, self.annotations, self.table, now())
        self._change_to(self.kept, change, said)

    def take_annotations(self, annotations: Annotations) -> None:
        """Replaces all annotations (undoable)."""
        self._change_to(self.kept, "annotations", annotations)

    def groups(self) -> tuple[GroupView, ...]:
        """Returns all groups, with their effects as far as `work` has computed them."""
        return self._groups.views(self.kept, self.annotations)

    def toggle_group(self, name: str) -> None:
        """Switches a group as one: off if any of it is on, else on. Raises UserError if there is none of that name."""
        self._toggle_all(circuit_of(self.table, self.annotations.group(name).nodes), f"group {name}")

    def search(self, spec: SearchSpec) -> Search:
        """Returns a search that has not begun. Raises UserError if it cannot begin, or is not worth it."""
        return self.searches.begin(spec)

    def adopt(self, result: SearchResult) -> None:
        """Makes the circuit that a search found the current one (undoable)."""
        self._change_to(circuit_of(self.table, result.nodes), f"found by {result.method}")
        self._provenance, self._dirty = Provenance.of_search(result, self.kept), True
        self.searches.adopted(result)

    def load_frontier(self, size: int) -> None:
        """Makes the frontier's circuit of that size the current one (undoable). Raises UserError if there is none."""
        search = self.searches.last
        point = search.circuit(size) if search else None
        if search is None or point is None:
            raise UserError(f"frontier: there is no circuit of {size} nodes on it")
        self._change_to(point.kept, f"frontier: {size} nodes")
        self._provenance, self._dirty = frontier_provenance(search, point.kept, point.faithfulness), True

    def start_audit(self, text: Path | None = None, *, full: bool = False) -> None:
        """Begins an audit of the current circuit (`Audits.start`, with its arguments and errors)."""
        self._audits.start(self.kept, self._provenance, text, full=full, edges=self.edges.part())

    def stop_audit(self) -> None:
        """Ends the audit here; its measured lines stay. Raises UserError if no audit is under way."""
        self._audits.stop(self.kept)

    def audit_view(self) -> AuditView | None:
        """Returns what audits say of the current circuit; None before an audit."""
        return self._audits.view(self.kept)

    def circuit_file(self) -> CircuitFile:
        """Returns the file of the current circuit; numbers not computed yet are null, none is an estimate."""
        self._numbers.be_exact()
        parts = self._audits.part(self.kept), self._snapshots.parts(self.table), self.edges.part()
        said = self.annotations, self._groups.known(self.kept)
        return circuit_file(self.experiment, self.table, self.view(), self._provenance, *parts, *said)

    def export(self, path: Path, *, force: bool = False) -> Path:
        """Computes all numbers, and writes everything into a file (`write_export`); returns the absolute path.

        Raises:
            ForeignFileError: there is a file that this program did not write, and `force` is not given.
            UserError: it cannot be written there, or another process writes it; nothing has then changed.
        """
        check_output(path, force=force)
        with claimed(path):
            self._numbers.complete()
            self._snapshots.complete()
            while self._groups.advance(self.kept, self.annotations):
                pass
            check_output(path, force=force)  # someone may have put a file there in the meantime
            written = write_export(self.circuit_file(), path)
        self._dirty = path.name.endswith(ENDING) and self._has_more_than_nodes  # which masks do not hold
        return written

    def open_circuit(self, path: Path) -> None:
        """Makes the circuit of a file the current one (undoable), and adds the file's snapshots and annotations.

        Raises:
            UserError: the file is damaged, or model, SAEs, prompts or ablation differ, or a node is no candidate here.
        """
        opened = open_circuit(path, self.experiment.opened)
        unsaved = self._dirty and self._has_more_than_nodes  # it is not in this file
        said = self.annotations.merged(opened.annotations, path.name)
        self._change_to(opened.kept, f"opened {path.name}", said)
        self._provenance, self._dirty = opened.provenance, unsaved
        self._snapshots.add(opened.snapshots, path.name)
        self._audits.take_from_file(self.kept, opened.audit)
        self.edges.take_from_file(opened.edges)

    @property
    def _has_more_than_nodes(self) -> bool:
        """Whether there are snapshots or annotations, which a file of nodes alone would lose."""
        return bool(self._snapshots.circuits or self.annotations)

    def fingerprint(self) -> dict[str, Any]:
        """Returns what is open, as JSON values. A stored state can be restored only if this is equal."""
        return fingerprint(self.experiment)

    def state(self) -> dict[str, Any]:
        """Returns everything that the user has done, as JSON values."""
        done = self._history, self._snapshots.circuits, self._provenance, self._last_change, self._dirty
        return SessionState(*done).data()

    def restore(self, state: dict[str, Any]) -> None:
        """Restores a stored state, undo and redo included. Raises UserError if it is none, or of another problem."""
        stored = SessionState.of(state, len(self.problem.space))
        self._history, self._provenance = stored.history, stored.provenance
        self._snapshots.replace_all(stored.snapshots)
        self._follow_history(stored.change)
        self._dirty = stored.dirty

    def _check_site(self, site: int) -> None:
        if not 0 <= site < len(self.problem.sites):
            raise UserError(f"site {site}: out of range, there are {len(self.problem.sites)}")

    def _check_latent(self, site: int, latent: int) -> None:
        self._check_site(site)
        if latent not in range(d_sae := self.problem.sites[site].sae.d_sae):
            raise UserError(f"latent {latent}: out of range, the SAE has {d_sae}")

    def _toggle_all(self, chosen: Tensor, name: str) -> None:
        """Toggles the nodes `chosen` `[node]` bool together: off if any is on, else on."""
        kept, on = self.kept.clone(), not bool(self.kept[chosen].any())
        kept[chosen] = on
        self._change_to(kept, f"{name} {'on' if on else 'off'}")

    def _change_to(self, kept: Tensor, change: str, annotations: Annotations | None = None) -> None:
        self._history.change_to(kept, change, annotations)
        self._follow_history(change)

    def _follow_history(self, change: str) -> None:
        """Takes in the current circuit of the history after the edit `change`."""
        self._last_change, self._version = change, self._version + 1
        self._previous_faithfulness = None if self._numbers.estimated else self._numbers.test.faithfulness
        if not torch.equal(self._numbers.kept, self.kept):  # else all numbers of the circuit still hold
            self._numbers.follow(self.kept)
            self._dirty = True
        self._dirty, self._said = self._dirty or self._said != self.annotations, self.annotations
