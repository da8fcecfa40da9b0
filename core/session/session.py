"""An open session: the one stateful object, synchronous, used by one thread.

It holds a problem, the current circuit with its history and named snapshots, and what is being computed about it.
Each edit is evaluated on the test prompts at once, or estimated where that takes long; the rest follows in `work`.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from circuit_tui.core.circuits.circuit_file import read_circuit
from circuit_tui.core.circuits.mask_file import is_mask_file
from circuit_tui.core.circuits.provenance import Found, circuit_file
from circuit_tui.core.errors import UserError
from circuit_tui.core.evaluation.evaluator import BATCH_PROMPTS, Evaluator
from circuit_tui.core.opening.open_circuit import circuit_in, write_export
from circuit_tui.core.opening.open_problem import OpenedProblem, open_problem, request_of
from circuit_tui.core.opening.request import OpenRequest
from circuit_tui.core.runtime.device_memory import memory_use
from circuit_tui.core.search.open_search import open_search
from circuit_tui.core.search.search import Search
from circuit_tui.core.search.spec import SearchSpec
from circuit_tui.core.session.audits import Auditable
from circuit_tui.core.session.background import Background
from circuit_tui.core.session.edits import Editable
from circuit_tui.core.session.history import History
from circuit_tui.core.session.info import session_info
from circuit_tui.core.session.latent_view import latent_view
from circuit_tui.core.session.node_table import label_of, node_table
from circuit_tui.core.session.prompt_views import prompt_view, prompts_view
from circuit_tui.core.session.state import Restorable
from circuit_tui.core.views import (
    CircuitView,
    Comparison,
    FrontierPoint,
    LatentView,
    LoadProgress,
    MemoryUse,
    PromptsView,
    PromptView,
    SearchResult,
)


def open_session(request: OpenRequest, progress: Callable[[LoadProgress], None] = lambda stage: None) -> Session:
    """Opens what `request` asks for; with a circuit file, what that names, and the file's circuit in it.

    Raises:
        UserError: anything that cannot be found, does not fit, or is not what the circuit file was made with.
    """
    path = request.circuit
    if path is None:
        return Session(open_problem(request, progress))
    file = None if is_mask_file(path) else read_circuit(path)
    session = Session(open_problem(request if file is None else request_of(file, request, path.parent), progress, file))
    session.open_circuit(path)
    return session


class Session(Editable, Restorable, Auditable):
    """See the module. Nodes are the numbers of `table`.

    Attributes:
        problem: what is open.
        table: the candidate nodes.
        info: facts that hold while the session is open.
    """

    def __init__(self, opened: OpenedProblem, clock: Callable[[], float] = time.perf_counter) -> None:
        self.opened, self.problem = opened, opened.problem
        self.train, self.test = (Evaluator(self.problem, split, size=BATCH_PROMPTS) for split in ("train", "test"))
        self.table = node_table(self.problem)
        self.info = session_info(self.problem, self.train, self.test, opened.notes)
        self._history = History(torch.zeros(len(self.problem.space), dtype=torch.bool))
        self._background = Background(self.test, self.train, self.kept, clock)
        self._snapshots: dict[str, Tensor] = {}
        self._search: Search | None = None
        self._found = Found()
        self._version, self._change, self._dirty = 0, "", False
        self._before: float | None = None

    @property
    def found(self) -> Found:
        """Where the current circuit came from."""
        return self._found

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
            snapshots=tuple(self._snapshots),
            dirty=self._dirty,
            estimated=work.estimated,
        )

    def memory_use(self) -> MemoryUse | None:
        """How full the device is, where that can be said."""
        return memory_use(self.problem.model.devices)

    def compare(self, name: str) -> Comparison:
        """The current circuit beside a remembered one. Raises UserError if there is none of that name."""
        theirs, ours = self._snapshot(name), self.kept
        self._background.be_exact()
        return Comparison(
            name=name,
            only_current=tuple((ours & ~theirs).nonzero()[:, 0].tolist()),
            only_snapshot=tuple((theirs & ~ours).nonzero()[:, 0].tolist()),
            both=int((ours & theirs).sum()),
            current=self._background.test,
            snapshot=self.test.evaluate(theirs).result(),
        )

    def work(self) -> bool:
        """Computes one more of the numbers that can wait; True while more remains."""
        if self._background.done:
            self.advance_audit()
        else:
            self._background.advance()
        return not self._background.done or self.auditing

    def latent_view(self, site: int, latent: int) -> LatentView:
        """One latent looked at closely. Raises UserError if it is not one of the SAE's."""
        self._check_site(site)
        d_sae = self.problem.sites[site].sae.d_sae
        if not 0 <= latent < d_sae:
            raise UserError(f"latent {latent}: out of range, the SAE has {d_sae}")
        label = label_of(self.table, site, latent)
        steps, path = (self._search.mask_steps, self._search.mask_path) if self._search else ([], [])
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

    def search(self, spec: SearchSpec) -> Search:
        """A search, not yet begun. Raises UserError when it cannot be or is not worth beginning."""
        self._search = open_search(self.problem, self.train, self.test, spec)
        return self._search

    def adopt(self, result: SearchResult) -> None:
        """Makes the circuit that a search found current (undoable)."""
        self._become(self._mask(result.nodes), f"found by {result.method}")
        self._found = Found.by_search(result, self.kept)
        self._dirty = True

    def frontier(self) -> tuple[FrontierPoint, ...]:
        """What the search under way or last run has found so far, ascending in size; empty before one."""
        return self._search.frontier() if self._search else ()

    def load_frontier(self, size: int) -> None:
        """Makes the circuit of that size on the frontier current (undoable). Raises UserError if there is none."""
        point = self._search.circuit(size) if self._search else None
        if self._search is None or point is None:
            raise UserError(f"frontier: there is no circuit of {size} nodes on it")
        self._become(point[0], f"frontier: {size} nodes")
        self._found, self._dirty = Found.on_frontier(self._search, *point), True

    def export(self, path: Path) -> Path:
        """Writes the circuit file, or published masks (`write_export`), every number computed. Returns where it lies.

        Raises:
            UserError: it cannot be written there; nothing is then changed.
        """
        self._background.complete()
        written = write_export(circuit_file(self), path)
        self._dirty = False
        return written

    def open_circuit(self, path: Path) -> None:
        """Makes the circuit of a file current (undoable), if it was made with what is open.

        Raises:
            UserError: the file is damaged, or model, SAEs, prompts or ablation differ, or a node is no candidate here.
        """
        nodes, found, audit = circuit_in(path, self.opened)
        self._become(self._mask(nodes), f"opened {path.name}")
        self._found, self._dirty = found(self.kept), False
        self.remember_audit(audit)
