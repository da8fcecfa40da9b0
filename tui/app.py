"""The explorer as an application: it starts the engine and the screen, and leaves cleanly however it ends."""

from __future__ import annotations

import os

os.environ.setdefault("TEXTUAL_FPS", "120")  # read when textual is imported: halves the wait for the second paint

import asyncio
import logging
import signal
import sys
import tempfile
import threading
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from textual.binding import Binding, BindingType
from textual.screen import Screen
from typing_extensions import override

from circuit_tui.core.errors import UserError
from circuit_tui.core.runtime.user_log import user_log
from circuit_tui.tui.drawing.styles import pane_styles_for
from circuit_tui.tui.drawing.themes import THEMES, checked_theme
from circuit_tui.tui.engine.messages import Notice, NoticeHandler, StateChanged
from circuit_tui.tui.palette import ActionCommands, ActionPalette
from circuit_tui.tui.resilient_app import ResilientApp
from circuit_tui.tui.screen_settings import ScreenSettings, load_settings, save_settings
from circuit_tui.tui.screens.frame import FrameScreen
from circuit_tui.tui.terminal import private_terminal, require_terminal

if TYPE_CHECKING:
    from collections.abc import Callable

    from textual.message import Message
    from textual.timer import Timer

    from circuit_tui.core.opening.request import OpenRequest
    from circuit_tui.tui.engine.engine import Engine
    from circuit_tui.tui.engine.session_protocol import Opener
    from circuit_tui.tui.explorer_options import ExplorerOptions
    from circuit_tui.tui.job_control import JobControl
    from circuit_tui.tui.screens.confirm_quit import Answer
    from circuit_tui.tui.screens.explorer import ExplorerScreen

SERVING_WAIT, SERVING_WAITS = 0.05, 20  # seconds between two looks whether the last keys are served; how many looks
JOIN_TIMEOUT = 0.6  # seconds to wait for the engine when leaving
FORCED_EXIT_AFTER = 10.0  # seconds after a signal: long enough for a busy machine to give the terminal back first

log = logging.getLogger("circuit_tui")


class ExplorerApp(ResilientApp[None]):
    """Holds the engine and the main screen. Both are made after the first frame, which does not wait for them.

    Attributes:
        loaded: whether they have been made. Before that there is no `engine`, `main` or `jobs`.
        engine: the thread that owns the session.
        main: the explorer's screen.
        jobs: what keeps the work for a restart; None where nothing is kept.
        bytes_written: how much has gone to the terminal.
    """

    engine: Engine
    main: ExplorerScreen

    CSS_PATH = "app.tcss"
    TITLE = "circuit-tui"
    COMMANDS = {ActionCommands}  # noqa: RUF012 the type is Textual's
    COMMAND_PALETTE_BINDING = "ctrl+p"
    BINDINGS: ClassVar[list[BindingType]] = [Binding("ctrl+q", "leave", "Quit", show=False, priority=True)]

    def __init__(
        self,
        request: OpenRequest,
        options: ExplorerOptions,
        *,
        opener: Opener | None = None,
        log_path: Path | None = None,
        autosave: bool = False,
        settings: Path | None = None,
    ) -> None:
        colour = "NO_COLOR" not in os.environ
        # Textual answers NO_COLOR with shades of grey, unless the colours are the terminal's own: then with none.
        super().__init__(ansi_color=None if colour else True)
        self._colour = colour
        self.set_class(not colour, "-no-colour")
        self.animation_level = "none"
        for own in THEMES.values():
            self.register_theme(own)
        self.theme = checked_theme(options.theme or ("ansi" if options.low_bandwidth or not colour else "dark"))
        self.pane_styles = pane_styles_for(self.current_theme, colour=colour)
        self.loaded = False
        self.bytes_written: Callable[[], int] = lambda: 0
        self._leaving: Timer | None = None  # looks whether the last keys are served, before it leaves
        self.jobs: JobControl | None = None
        self._options = options
        self.log_hint = str(log_path or self.log_hint)
        self._session = (request, opener, self.log_hint)
        self._autosave = autosave
        self.state_folder = log_path.parent if log_path else Path(tempfile.gettempdir())
        self._settings_path = settings
        self.screen_settings = ScreenSettings()
        self._notice_handler = NoticeHandler(self.post_to_main)

    @override
    def get_default_screen(self) -> Screen[Any]:
        return FrameScreen(self)

    def load(self) -> None:
        """Replace the first frame by the explorer's screen, which opens the session once it is drawn."""
        from circuit_tui.tui.engine.engine import Engine
        from circuit_tui.tui.engine.session_protocol import open_real_session
        from circuit_tui.tui.job_control import JobControl, explorer_job
        from circuit_tui.tui.screens.explorer import ExplorerScreen

        request, opener, log_hint = self._session
        job = explorer_job(request) if self._autosave else None
        self.engine = Engine(request, opener or open_real_session, self.post_to_main, log_hint, job)
        if self.engine.autosave is not None:
            self.jobs = JobControl(self, self.engine, self.engine.autosave, self.post_to_main)
        complaint = self._recall()
        self.main = ExplorerScreen(self, self._options)
        if complaint:
            self.post_to_main(Notice(f"{complaint}; the defaults are used", "warning"))
        user_log.addHandler(self._notice_handler)
        self.loaded = True
        self.push_screen(self.main)

    def _recall(self) -> str:
        """Take the user's choices from the file; returns what is wrong with it, if anything."""
        if self._settings_path is not None:
            try:
                self.screen_settings = load_settings(self._settings_path)
            except UserError as error:
                self._settings_path = None  # what the user has written there is not replaced
                return str(error)
        return ""

    def remember(self, settings: ScreenSettings) -> None:
        """Keep the user's choices for the next start."""
        self.screen_settings = settings
        if self._settings_path is not None:
            try:
                save_settings(settings, self._settings_path)
            except UserError as error:
                self._settings_path = None  # one line is enough
                self.post_to_main(Notice(f"{error}; it will not be remembered", "warning"))

    def open_another(self, circuit: Path | None = None) -> None:
        """Ask what to open in place of what is open, after a question about unsaved work; `circuit` is proposed."""
        from circuit_tui.tui.engine.commands import OpenAnother
        from circuit_tui.tui.screens.open_form import OpenForm

        def opened(request: OpenRequest | None, *, leave_running: bool = False) -> None:
            self.pop_screen()
            if request is not None:
                self.engine.submit(OpenAnother(request, leave_running))

        def ask(answer: Answer | None) -> None:
            if answer == "export":
                self.main.ask_export(then_quit=False)
            elif answer in ("quit", "background"):
                done = partial(opened, leave_running=answer == "background")
                request = self.engine.request
                shown = named_request(request) if circuit is None else replace(request, circuit=circuit)
                self.push_screen(OpenForm(shown, done, leave="Cancel"))

        searching = self.jobs is not None and self.jobs.searching
        if self.main.unsaved or searching:
            from circuit_tui.tui.screens.confirm_quit import ConfirmQuit

            self.push_screen(ConfirmQuit(self.main.unsaved, searching=searching, opening=True), ask)
        else:
            ask("quit")

    def begin_anew(self) -> None:
        """Show the session that has just been opened on a fresh screen."""
        from circuit_tui.tui.screens.explorer import ExplorerScreen

        if self.jobs:
            self.jobs.unwatch()
        self._options = replace(self._options, out=None, force=False)
        while self.screen is not self.main:
            self.pop_screen()  # a dialog about what was open
        self.main = ExplorerScreen(self, self._options)
        self.switch_screen(self.main)

    def begin(self) -> None:
        """Open the session, after a question about work that was cut off, if there is any."""
        if self.engine.alive:
            self.main.on_state_changed(StateChanged())  # it is open already
        elif self.jobs:
            self.jobs.begin()
        else:
            self.engine.start()

    def post_to_main(self, message: Message) -> None:
        """Send the explorer's screen a message; any thread may call this, even when the screen has gone."""
        with suppress(RuntimeError):  # the loop is closed
            self.main.post_message(message)

    async def on_mount(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGHUP):
            try:
                loop.add_signal_handler(number, self._leave_on_signal, number)
            except (ValueError, RuntimeError, NotImplementedError):
                log.debug("no handler for signal %s: not in the main thread", number)
        with suppress(ValueError):
            # Many keys fill the pipe that wakes the loop; a signal is then noticed all the same, and no line is needed.
            signal.set_wakeup_fd(signal.set_wakeup_fd(-1), warn_on_full_buffer=False)
        assert isinstance(self.screen, FrameScreen)
        self.screen.when_drawn(self.load)

    def _leave_on_signal(self, number: int) -> None:
        # A terminal that is gone may block every write: then nothing but this ends the process.
        timer = threading.Timer(FORCED_EXIT_AFTER, os._exit, [128 + number])
        timer.daemon = True
        timer.start()
        self.exit(return_code=128 + number)

    async def on_unmount(self) -> None:
        if self.loaded:
            user_log.removeHandler(self._notice_handler)
            self.engine.stop()
            await asyncio.to_thread(self.engine.join, JOIN_TIMEOUT)

    @override
    def _watch_theme(self, theme_name: str) -> None:
        theme = THEMES.get(theme_name) or self.current_theme
        self.pane_styles = pane_styles_for(theme, colour=getattr(self, "_colour", True))
        super()._watch_theme(theme_name)

    @property
    def crashed(self) -> Exception | None:
        """The exception that ended the app; None if it ended as it should."""
        return self._exception

    def next_theme(self) -> None:
        """Switch to the theme after the current one."""
        names = list(THEMES)
        self.theme = names[(names.index(self.theme) + 1) % len(names)]

    def on_notice(self, event: Notice) -> None:
        timeout = {"information": 4, "warning": 10, "error": 12}[event.severity]
        self.notify(event.text, severity=event.severity, timeout=timeout)

    def show_jobs(self) -> None:
        """Show the searches in the background and those that were cut off."""
        if self.jobs:
            self.jobs.show_all()

    def leave_search_running(self) -> None:
        """Quit, and let the search go on in a process of its own."""
        if self.jobs is None:
            return
        if self.jobs.searching or not self.engine.state.search.live:
            self.jobs.leave_running()
        else:
            self.action_leave()  # the search runs in another process; what is unsaved here does not

    @override
    def action_command_palette(self) -> None:
        if self.loaded and not isinstance(self.screen, ActionPalette):
            self.push_screen(ActionPalette())

    @override
    def has_work(self) -> bool:
        return self._leaving is not None or super().has_work()

    def action_leave(self) -> None:
        """Quit; ask first if something unsaved would be lost."""
        if self._leaving is None:
            self._leave(SERVING_WAITS)

    def _leave(self, waits: int) -> None:
        """Quit or ask; keys in the same packet may ask for changes that are not made yet, so look `waits` times."""
        self._leaving = None
        if not self.loaded:
            self.exit()
            return
        from circuit_tui.tui.screens.confirm_quit import ConfirmQuit

        searching = self.jobs is not None and self.jobs.searching
        failed = self.engine.state.phase == "failed"
        unsaved, waiting = self.main.unsaved, self.engine.has_unserved
        if failed or isinstance(self.screen, ConfirmQuit) or not (unsaved or searching or waiting):
            self.exit(return_code=2 if failed else 0)
            return
        if waiting and waits:
            self._leaving = self.set_timer(SERVING_WAIT, partial(self._leave, waits - 1))
            return

        def answered(answer: Answer | None) -> None:
            if answer == "quit":
                self.exit()
            elif answer == "export":
                self.main.ask_export(then_quit=True)
            elif answer == "background":
                self.leave_search_running()

        if waiting:
            unsaved = (*unsaved, "what the last keys asked for, which is still being done")
        self.push_screen(ConfirmQuit(unsaved, searching=searching), answered)


def named_request(request: OpenRequest) -> OpenRequest:
    """The request that names what the circuit file of `request` names, so that a part of it can be changed."""
    if request.circuit is None:
        return request
    from circuit_tui.core.circuits.circuit_file import read_circuit
    from circuit_tui.core.circuits.mask_file import is_mask_file
    from circuit_tui.core.opening.open_circuit import request_of  # torch, which the engine has imported by now

    if is_mask_file(request.circuit):
        return replace(request, circuit=None)
    try:
        named = request_of(read_circuit(request.circuit), request, request.circuit.parent)
    except UserError:
        return request  # the form says what is wrong with the file
    return replace(named, circuit=None, sae_dirs=named.sae_dirs if named.model is not None else ())


def run_explorer(
    request: OpenRequest,
    options: ExplorerOptions,
    *,
    mouse: bool,
    log_path: Path,
    opener: Opener | None = None,
    autosave: bool = False,
    settings: Path | None = None,
) -> int:
    """Run the explorer in this terminal until the user leaves it; returns the exit code.

    `autosave` keeps the work in a job's folder, so that a crash or a lost connection costs nothing. `settings` is the
    file in which the user's choices are remembered; without one they are forgotten.

    Raises:
        UserError: no terminal, or no such theme.
    """
    require_terminal()
    log_path.parent.mkdir(parents=True, exist_ok=True)
    handler = logging.FileHandler(log_path, delay=True)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    log.addHandler(handler)
    app = ExplorerApp(request, options, opener=opener, log_path=log_path, autosave=autosave, settings=settings)
    with private_terminal(log_path) as output:
        app.bytes_written = lambda: output.written
        app.run(mouse=mouse)
    log.removeHandler(handler)
    code = app.return_code or 0
    if app.crashed:
        print(f"error: the explorer stopped: {app.crashed} (details: {log_path})", file=sys.stderr)  # noqa: T201 the screen is gone
        code = 1
    if app.jobs:
        line = app.jobs.close(wanted=not app.crashed and code < 128)
        with suppress(OSError):  # the terminal may have gone away
            print(line, end="\n" if line else "", file=sys.stderr, flush=True)  # noqa: T201
    if (app.loaded and app.engine.alive) or "torch" in sys.modules:
        # Unloading torch takes seconds, and would crash under an engine that is inside an import or a long call.
        # Nothing is left to be saved: an export writes its circuit at once.
        logging.shutdown()
        with suppress(OSError):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)
    return code
