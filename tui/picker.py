"""What to open, picked from lists: model, release, layers, width, L0 and task. Runs before the explorer.

sae-lens' registry is read in a thread of its own: importing it takes seconds, and the form works meanwhile.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

from textual.app import App, ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, VerticalScroll
from textual.message import Message
from textual.widgets import Button, Input, Label, Select, Static

from circuit_tui.core.catalogue import ReleaseFacts, catalogue, releases_for, weigh
from circuit_tui.core.errors import UserError
from circuit_tui.core.hub.sizes import size_text
from circuit_tui.core.known_models import KNOWN_MODELS, known_model
from circuit_tui.core.prompts_file import load_prompts
from circuit_tui.core.request import OpenRequest
from circuit_tui.core.sae_choice import SiteFlags
from circuit_tui.core.tasks import names as task_names
from circuit_tui.tui.themes import THEMES, checked_theme

DEMO, OTHER = "the bundled demo", "another: name or folder"


class PickerApp(App[OpenRequest]):
    """Returns the request that was picked, or None if the user left.

    `read` fetches the registry; tests give one of their own.
    """

    TITLE = "circuit-tui"
    CSS = """
    Screen { background: $background; padding: 1 2; }
    .field { height: 1; margin-bottom: 1; }
    .field Label { width: 12; color: $muted; }
    .field Input, .field Select { width: 48; background: $panel; }
    .field .hint { width: 1fr; padding-left: 2; color: $muted; }
    #said { height: auto; min-height: 3; margin: 1 0; }
    #said.-error { color: $error; }
    Button { margin-right: 2; border: none; }
    """
    ENABLE_COMMAND_PALETTE = False
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("ctrl+o", "open", "Open", priority=True),
        Binding("escape,ctrl+q", "leave", "Quit", priority=True),
    ]

    class Read(Message):
        """The registry has been read, or cannot be."""

        def __init__(self, facts: tuple[ReleaseFacts, ...], error: str = "") -> None:
            super().__init__()
            self.facts, self.error = facts, error

    def __init__(
        self,
        request: OpenRequest,
        *,
        theme: str | None = None,
        read: Callable[[], tuple[ReleaseFacts, ...]] = catalogue,
    ) -> None:
        super().__init__()
        for own in THEMES.values():
            self.register_theme(own)
        self.theme = checked_theme(theme or "dark")
        self._request, self._read = request, read
        self._facts: tuple[ReleaseFacts, ...] | None = None

    def compose(self) -> ComposeResult:
        known = known_model(self._request.model)
        first = DEMO if self._request.model is None else known.names[0] if known else OTHER
        models = [DEMO, *(model.names[0] for model in KNOWN_MODELS), OTHER]
        flags, tasks = self._request.site_flags, task_names()
        with VerticalScroll(can_focus=False):
            yield from _line("model", _select(models, first, "model"))
            typed = "" if known or self._request.model is None else self._request.model
            yield from _line("", _input("other", typed, "name on the Hub, or folder"))
            yield from _line("SAEs", Select[str]([], prompt="reading the registry …", id="release"))
            yield from _line("layers", _input("layers", flags.layers or "", "7,14,21 or 4-8"), "layers-hint")
            yield from _line("width", _input("width", flags.width or "", "the smallest"), "width-hint")
            yield from _line("L0", _input("l0", flags.l0 or "", "the middle one"))
            task = self._request.task or "sva-rc"
            yield from _line("task", _select(tasks, task, "task"))
            yield from _line("or prompts", _input("prompts", str(self._request.prompts or ""), "FILE.jsonl"))
            yield Static("", id="said", markup=False)
            with Horizontal(classes="field"):
                yield Button("Open (ctrl+o)", id="open", compact=True, variant="primary")
                yield Button("Quit (esc)", id="leave", compact=True)

    def on_mount(self) -> None:
        threading.Thread(target=self._fetch, name="registry", daemon=True).start()
        self._show_model()

    def _fetch(self) -> None:
        try:
            self.post_message(self.Read(self._read()))
        except Exception as error:  # noqa: BLE001 a thread's error would be lost; the demo can still be opened
            self.post_message(self.Read((), f"sae-lens' registry cannot be read: {error}"))

    def on_picker_app_read(self, event: Read) -> None:
        self._facts = event.facts
        self._show_model()
        if event.error:
            self._say(event.error, error=True)

    def on_select_changed(self, event: Select.Changed) -> None:
        if event.select.id == "model":
            self._show_model()
        elif event.select.id == "release":
            self._show_release()

    def on_input_changed(self, event: Input.Changed) -> None:
        if event.input.id == "other":
            self._show_model()
        else:
            self._weigh()

    def on_button_pressed(self, event: Button.Pressed) -> None:
        self.action_open() if event.button.id == "open" else self.action_leave()

    def action_leave(self) -> None:
        self.exit(None)

    def action_open(self) -> None:
        """Leave with the request; what is wrong with it is said first."""
        try:
            self.exit(self._picked())
        except UserError as error:
            self._say(str(error), error=True)

    @property
    def _model(self) -> str | None:
        chosen = str(self.query_one("#model", Select).value)
        return None if chosen == DEMO else self._text("other") if chosen == OTHER else chosen

    @property
    def _release(self) -> str:
        value = self.query_one("#release", Select).value
        return value if isinstance(value, str) else ""

    @property
    def _flags(self) -> SiteFlags:
        return SiteFlags(self._text("layers") or None, None, self._text("width") or None, self._text("l0") or None)

    def _text(self, name: str) -> str:
        return self.query_one(f"#{name}", Input).value.strip()

    def _picked(self) -> OpenRequest:
        """Raises UserError for what cannot be opened, as far as that is known without a network."""
        model, prompts = self._model, self._text("prompts")
        task = None if prompts else str(self.query_one("#task", Select).value)
        path = Path(prompts) if prompts else None
        if path is not None:
            load_prompts(path)
        asked = replace(self._request, task=task, prompts=path)
        if model is None:
            return replace(asked, model=None, saes=(), sae_dirs=(), site_flags=SiteFlags())
        if not model:
            raise UserError("model: type a name on the Hub or a folder")
        if asked.sae_dirs:
            return replace(asked, model=model)
        if self._facts is None:
            raise UserError("the list of SAEs is still being read; a moment")
        if not self._release:
            raise UserError(f"{model}: sae-lens knows no SAEs for it; start with --model {model} --sae-dir DIR")
        weigh(model, self._release, self._flags)
        return replace(asked, model=model, saes=(self._release,), site_flags=self._flags)

    def _show_model(self) -> None:
        """Offer the releases of the model that is chosen now."""
        self.query_one("#other", Input).disabled = self.query_one("#model", Select).value != OTHER
        select, model = self.query_one("#release", Select), self._model
        offered = releases_for(model, self._facts) if model and self._facts else ()
        select.set_options([(f"{one.name}  {one.site}", one.name) for one in offered])
        if offered:
            select.value = offered[0].name
        select.disabled = not offered
        self._show_release()

    def _show_release(self) -> None:
        facts = next((one for one in self._facts or () if one.name == self._release), None)
        known = known_model(self._model)
        own = known if known is not None and known.release == self._release else None
        if facts is not None and not self._request.site_flags.given:
            self.query_one("#layers", Input).value = ",".join(map(str, own.layers)) if own else ""
            self.query_one("#width", Input).value = (own.width or "") if own else ""
            self.query_one("#l0", Input).value = (own.l0 or "") if own else ""
        self.query_one("#layers-hint", Label).update(f"it has {facts.layers}" if facts else "")
        widths = ", ".join(f"{width:,}" for width in facts.widths) if facts else ""
        self.query_one("#width-hint", Label).update(widths)
        self._weigh()

    def _weigh(self) -> None:
        """Say what the choice comes to, or what is wrong with it."""
        model, release = self._model, self._release
        if model is None:
            self._say("A small model with its SAEs, no download.")
        elif self._facts is None:
            self._say("Reading sae-lens' registry …")
        elif not release:
            self._say(f"sae-lens knows no SAEs for {model}." if model else "Type a name on the Hub, or a folder.")
        else:
            try:
                pick = weigh(model, release, self._flags)
            except UserError as error:
                self._say(str(error), error=True)
                return
            rest = len(pick.names) - pick.on_disk
            size = f", ~{size_text(pick.to_fetch)}" if pick.to_fetch else ""
            fetch = f"{rest} to fetch{size}" if rest else "all on disk"
            own = "the model is on disk" if pick.model_on_disk else "the model is to be fetched, unless it is a folder"
            self._say(f"{len(pick.names)} SAEs ({fetch}); {own}\n{' '.join(n.partition(':')[2] for n in pick.names)}")

    def _say(self, text: str, *, error: bool = False) -> None:
        said = self.query_one("#said", Static)
        said.update(text)
        said.set_class(error, "-error")


def _input(name: str, value: str, placeholder: str) -> Input:
    made = Input(value, placeholder=placeholder, id=name, compact=True, select_on_focus=False)
    made.cursor_blink = False
    return made


def _select(options: Sequence[str], value: str, name: str) -> Select[str]:
    return Select([(option, option) for option in options], value=value, allow_blank=False, id=name)


def _line(label: str, field: Input | Select[str], hint: str = "") -> ComposeResult:
    if isinstance(field, Select):
        field.compact = True
    with Horizontal(classes="field"):
        yield Label(label)
        yield field
        if hint:
            yield Label("", id=hint, classes="hint")


def pick(request: OpenRequest, *, theme: str | None, mouse: bool, log_path: Path) -> OpenRequest | None:
    """Show the lists in this terminal; the request that was picked, or None if the user left."""
    from circuit_tui.tui.terminal import private_terminal, require_terminal

    require_terminal()
    log_path.parent.mkdir(parents=True, exist_ok=True)
    with private_terminal(log_path):
        return PickerApp(request, theme=theme).run(mouse=mouse)
