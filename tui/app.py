"""The explorer as an application: starts engine and screen, and leaves cleanly however it ends."""

from __future__ import annotations

import os

os.environ.setdefault("TEXTUAL_FPS", "120")  # read once, when textual is imported: halves the wait for the second paint

import asyncio
import logging
import signal
import sys
import threading
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from textual.app import App
from textual.binding import Binding, BindingType
from textual.screen import Screen

from circuit_tui.core.runtime.out_of_memory import user_log
from circuit_tui.tui.drawing.styles import ink_for
from circuit_tui.tui.drawing.themes import THEMES, checked_theme
from circuit_tui.tui.engine.messages import Exported, Notice, TellingHandler
from circuit_tui.tui.palette import ActionCommands
from circuit_tui.tui.screens.frame import FrameScreen
from circuit_tui.tui.terminal import private_terminal, require_terminal

if TYPE_CHECKING:
    from circuit_tui.core.opening.request import OpenRequest
    from circuit_tui.tui.engine.engine import Engine
    from circuit_tui.tui.engine.session_protocol import Opener
    from circuit_tui.tui.explorer_options import ExplorerOptions
    from circuit_tui.tui.job_control import JobControl
    from circuit_tui.tui.screens.compare import CompareScreen
    from circuit_tui.tui.screens.confirm_quit import Answer
    from circuit_tui.tui.screens.explorer import ExplorerScreen

CHART_RATE = 4.0  # chart frames per second
SLOW_CHART_RATE = 2.0
JOIN = 0.6  # seconds to wait for the engine when leaving
FORCED = 10.0  # seconds after a signal: long enough for a busy machine to give the terminal back first

log = logging.getLogger("circuit_tui")


class ExplorerApp(App[None]):
    """Holds the engine and the one main screen, both made once the first frame is out: it does not wait for them.

    Attributes:
        loaded: whether they are there. `engine` and `jobs` are not before.
        jobs: what is kept for a restart; None where nothing is.
    """

    engine: Engine
    _main: ExplorerScreen

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
        kept: bool = False,
    ) -> None:
        colour = "NO_COLOR" not in os.environ
        # Textual answers NO_COLOR with shades of grey, unless the colours are the terminal's own: then with none.
        super().__init__(ansi_color=None if colour else True)
        self._colour = colour
        self.chart_rate = SLOW_CHART_RATE if options.low_bandwidth else CHART_RATE
        self.animation_level = "none"
        for own in THEMES.values():
            self.register_theme(own)
        self.theme = checked_theme(options.theme or ("ansi" if options.low_bandwidth or not colour else "dark"))
        self.pane_styles = ink_for(self.current_theme, colour=colour)
        self.quit_after_export = False
        self.audit_text = options.text
        self.loaded = False
        self.jobs: JobControl | None = None
        self._options = options
        self._session = (request, opener, str(log_path or "the log file"))
        self._kept = kept
        self._teller = TellingHandler(self.post_to_main)

    def get_default_screen(self) -> Screen[Any]:
        return FrameScreen()

    def load(self) -> None:
        """Put the explorer's screen in the place of the first frame. It opens the session when it is on the screen."""
        from circuit_tui.tui.engine.engine import Engine
        from circuit_tui.tui.engine.session_protocol import open_real_session
        from circuit_tui.tui.job_control import JobControl
        from circuit_tui.tui.screens.explorer import ExplorerScreen

        request, opener, log_hint = self._session
        self.jobs = JobControl.of(self, request) if self._kept else None
        make = self.jobs.make_engine if self.jobs else Engine
        self.engine = make(request, opener or open_real_session, self.post_to_main, log_hint)
        self._main = ExplorerScreen(self._options)
        user_log.addHandler(self._teller)
        self.loaded = True
        self.push_screen(self._main)

    def begin(self) -> None:
        """Open the session; what was left behind comes first."""
        if self.jobs:
            self.jobs.begin()
        else:
            self.engine.start()

    def post_to_main(self, message: object) -> None:
        """Give the explorer's screen a message, from any thread."""
        self._main.post_message(message)  # type: ignore[arg-type]

    async def on_mount(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGHUP):
            try:
                loop.add_signal_handler(number, self._leave_on_signal, number)
            except (ValueError, RuntimeError, NotImplementedError):
                log.debug("no handler for signal %s: not in the main thread", number)
        assert isinstance(self.screen, FrameScreen)
        self.screen.when_drawn(self.load)

    def _leave_on_signal(self, number: int) -> None:
        # A terminal that is gone may block every write: then nothing but this ends the process.
        timer = threading.Timer(FORCED, os._exit, [128 + number])
        timer.daemon = True
        timer.start()
        self.exit(return_code=128 + number)

    async def on_unmount(self) -> None:
        if self.loaded:
            user_log.removeHandler(self._teller)
            self.engine.stop()
            await asyncio.to_thread(self.engine.join, JOIN)

    def _watch_theme(self, theme_name: str) -> None:
        self.pane_styles = ink_for(THEMES.get(theme_name) or self.current_theme, colour=getattr(self, "_colour", True))
        super()._watch_theme(theme_name)

    @property
    def crashed(self) -> Exception | None:
        """What ended the app, if it did not end as it should."""
        return self._exception

    def next_theme(self) -> None:
        """Take the theme after the current one."""
        names = list(THEMES)
        self.theme = names[(names.index(self.theme) + 1) % len(names)]

    def on_notice(self, event: Notice) -> None:
        timeout = {"information": 4, "warning": 10, "error": 12}[event.severity]
        self.notify(event.text, severity=event.severity, timeout=timeout, markup=False)

    def on_exported(self, event: Exported) -> None:
        self.notify(f"Wrote {event.path}", timeout=10, markup=False)
        if self.quit_after_export:
            self.exit()

    def on_compare_screen_wanted(self, event: CompareScreen.Wanted) -> None:
        self._main.compare_with(event.name)

    def action_leave(self) -> None:
        """Quit; ask first if something unsaved would be lost."""
        if not self.loaded:
            self.exit()
            return
        from circuit_tui.tui.screens.confirm_quit import ConfirmQuit

        searching = self.jobs is not None and self.jobs.searching
        failed = self.engine.state.phase == "failed"
        if failed or isinstance(self.screen, ConfirmQuit) or (self._main.unsaved is None and not searching):
            self.exit(return_code=2 if failed else 0)
            return

        def answered(answer: Answer | None) -> None:
            if answer == "quit":
                self.exit()
            elif answer == "export":
                self._main.ask_export(then_quit=True)
            elif answer == "background" and self.jobs:
                self.jobs.leave_running()

        self.push_screen(ConfirmQuit(self._main.unsaved, searching=searching), answered)


def run_explorer(
    request: OpenRequest,
    options: ExplorerOptions,
    *,
    mouse: bool,
    log_path: Path,
    opener: Opener | None = None,
    kept: bool = False,
) -> int:
    """Run the explorer in this terminal until the user leaves it; returns the exit code.

    `kept`: what is done is kept in a job's folder, so that a crash or a lost connection costs nothing.
    """
    require_terminal()
    log_path.parent.mkdir(parents=True, exist_ok=True)
    handler = logging.FileHandler(log_path, delay=True)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    log.addHandler(handler)
    app = ExplorerApp(request, options, opener=opener, log_path=log_path, kept=kept)
    with private_terminal(log_path):
        app.run(mouse=mouse)
    log.removeHandler(handler)
    code = app.return_code or 0
    if app.crashed:
        print(f"error: the explorer stopped: {app.crashed} (details: {log_path})", file=sys.stderr)  # noqa: T201 the screen is gone
        code = 1
    if app.jobs:
        said = app.jobs.close(wanted=not app.crashed and code < 128)
        with suppress(OSError):  # the terminal may have gone away
            print(said, end="\n" if said else "", file=sys.stderr, flush=True)  # noqa: T201
    if (app.loaded and app.engine.alive) or "torch" in sys.modules:
        # Unloading torch takes seconds, and would crash under an engine that is inside an import or a long call.
        # Nothing is left to be saved: circuits are written by `export`, at once.
        logging.shutdown()
        with suppress(OSError):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)
    return code
