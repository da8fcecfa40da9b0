"""A form to pick what to open: model, SAEs, layers, width, L0, task or prompts, or a circuit file.

sae-lens' registry is read in a thread of its own: importing it takes seconds, and the form works meanwhile.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, VerticalScroll
from textual.message import Message
from textual.screen import Screen
from textual.widgets import Button, Input, Label, Select, Static

from circuit_tui.core.errors import UserError
from circuit_tui.core.hub.sizes import size_text
from circuit_tui.core.models.presets import PRESETS, default_task, preset_of, tasks_of
from circuit_tui.core.opening.request import OpenRequest
from circuit_tui.core.saes.catalogue import ReleaseSummary, catalogue, describe_choice, releases_for
from circuit_tui.core.saes.registry import width_text
from circuit_tui.core.saes.sae_filter import SiteFlags
from circuit_tui.core.tasks.builtin import names as task_names
from circuit_tui.core.tasks.prompts_file import load_prompts
from circuit_tui.tui.drawing.line import plain, printable
from circuit_tui.tui.screens.choose_file import ChooseFile
from circuit_tui.tui.widgets.form_fields import PathSuggester, choice_field, form_line, text_field

DEMO, OTHER = "the bundled demo", "another: name or folder"
TEXT, CHAT = "plain text", "messages to a chat model"
PROMPTS_ENDINGS, CIRCUIT_ENDINGS = (".jsonl", ".json"), (".json",)


class OpenForm(Screen[None]):
    """The form. It calls `done` with the request that was picked, or with None if the user left.

    `read` reads the registry; tests replace it. `leave` is the name of the button that leaves the form.
    """

    CSS = """
    OpenForm { background: $background; padding: 1 2; }
    OpenForm .field { height: 1; }
    OpenForm.-tall .field { margin-bottom: 1; }
    OpenForm .field Button { margin: 0 0 0 1; }
    OpenForm .field Label { width: 12; color: $muted; }
    OpenForm .field Input, OpenForm .field Select { width: 48; background: $panel; }
    OpenForm .field #layers, OpenForm .field #width, OpenForm .field #l0 { width: 22; }
    OpenForm .field .hint { width: 1fr; padding-left: 2; color: $muted; }
    OpenForm #status { height: auto; min-height: 3; margin: 1 0; }
    OpenForm #status.-error { color: $error; }
    OpenForm Button { margin-right: 2; border: none; }
    """
    VERTICAL_BREAKPOINTS = [(0, "-short"), (34, "-tall")]  # noqa: RUF012 the type is Textual's
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("ctrl+o", "open", "Open", priority=True),
        Binding("ctrl+f", "browse('prompts')", "Browse", priority=True),
        Binding("ctrl+g", "browse('circuit')", "Browse", priority=True),
        Binding("escape", "leave", "Quit", priority=True),
    ]

    class RegistryRead(Message):
        """The registry has been read, or `error` says why it cannot be."""

        def __init__(self, releases: tuple[ReleaseSummary, ...], error: str = "") -> None:
            super().__init__()
            self.releases, self.error = releases, error

    def __init__(
        self,
        request: OpenRequest,
        done: Callable[[OpenRequest | None], object],
        *,
        leave: str = "Quit",
        read: Callable[[], tuple[ReleaseSummary, ...]] = catalogue,
    ) -> None:
        super().__init__()
        self._done, self._leave = done, leave
        self._request, self._read = request, read
        self._releases: tuple[ReleaseSummary, ...] | None = None

    def compose(self) -> ComposeResult:
        known = preset_of(self._request.model)
        first = DEMO if self._request.model is None else known.names[0] if known else OTHER
        models = [DEMO, *(model.names[0] for model in PRESETS), OTHER]
        flags, tasks = self._request.site_flags, task_names()
        paths = PathSuggester()
        with VerticalScroll(can_focus=False):
            yield from form_line("model", choice_field(models, first, "model"))
            typed = "" if known or self._request.model is None else self._request.model
            yield from form_line("", text_field("other", typed, "name on the Hub, or folder", paths))
            yield from form_line("SAEs", Select[str]([], prompt="reading the registry …", id="release", compact=True))
            folders = ",".join(map(str, self._request.sae_dirs))
            yield from form_line("or folders", text_field("folders", folders, "FOLDER,FOLDER in sae-lens' form", paths))
            layers = text_field("layers", flags.layers or "", "7,14,21 or 4-8")
            yield from form_line("layers", layers, Label("", id="layers-hint", classes="hint"))
            width = text_field("width", flags.width or "", "the smallest")
            yield from form_line("width", width, Label("", id="width-hint", classes="hint"))
            yield from form_line("L0", text_field("l0", flags.l0 or "", "the middle one"))
            yield from form_line(
                "task", choice_field(tasks, self._request.task or default_task(self._request.model), "task")
            )
            prompts = text_field("prompts", str(self._request.prompts or ""), "FILE.jsonl", paths)
            browse = Button("Files (ctrl+f)", id="browse", compact=True)
            yield from form_line("or prompts", prompts, browse)
            circuit = text_field("circuit", str(self._request.circuit or ""), "FILE.json, which says the rest", paths)
            yield from form_line("or circuit", circuit, Button("Files (ctrl+g)", id="circuits", compact=True))
            yield from form_line("read as", choice_field([TEXT, CHAT], CHAT if self._request.chat else TEXT, "chat"))
            yield Static("", id="status", markup=False)
            with Horizontal(classes="field"):
                yield Button("Open (ctrl+o)", id="open", compact=True, variant="primary")
                yield Button(plain(f"{self._leave} (esc)"), id="leave", compact=True)

    def on_mount(self) -> None:
        threading.Thread(target=self._fetch, name="registry", daemon=True).start()
        self._show_model()

    def _fetch(self) -> None:
        try:
            self.post_message(self.RegistryRead(self._read()))
        except Exception as error:  # noqa: BLE001 a thread's error would be lost; the demo can still be opened
            self.post_message(self.RegistryRead((), f"sae-lens' registry cannot be read: {error}"))

    def on_open_form_registry_read(self, event: RegistryRead) -> None:
        self._releases = event.releases
        self._show_model()
        if event.error:
            self._say(event.error, error=True)

    def on_select_changed(self, event: Select.Changed) -> None:
        if event.select.id == "model":
            self._show_model()
            self._suit_task()
        elif event.select.id == "release":
            self._show_release()

    def on_input_changed(self, event: Input.Changed) -> None:
        if event.input.id == "other":
            self._show_model()
        else:
            self._describe()

    def on_button_pressed(self, event: Button.Pressed) -> None:
        match event.button.id:
            case "open":
                self.action_open()
            case "browse" | "circuits":
                self.action_browse("prompts" if event.button.id == "browse" else "circuit")
            case _:
                self.action_leave()

    def action_leave(self) -> None:
        """Close the list of choices that is open, else leave the form."""
        opened = next((select for select in self.query(Select) if select.expanded), None)
        if opened is None:
            self._done(None)
        else:
            opened.expanded = False
            opened.focus()

    def action_browse(self, field: str) -> None:
        """Choose the file of a field from those below the working directory."""

        def take(path: Path | None) -> None:
            if path is not None:
                self.query_one(f"#{field}", Input).value = str(path)

        if self.app.screen is self:
            endings = PROMPTS_ENDINGS if field == "prompts" else CIRCUIT_ENDINGS
            self.app.push_screen(ChooseFile(Path(), endings), take)

    def action_open(self) -> None:
        """Leave with the request, or say what is wrong with it."""
        if self.app.screen is not self:
            return
        try:
            self._done(self._picked())
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

    @property
    def _folders(self) -> tuple[Path, ...]:
        return tuple(Path(part.strip()) for part in self._text("folders").split(",") if part.strip())

    def _text(self, name: str) -> str:
        return self.query_one(f"#{name}", Input).value.strip()

    def _picked(self) -> OpenRequest:
        """The request that the form describes.

        Raises:
            UserError: it cannot be opened, as far as that is known without a network.
        """
        model, prompts = self._model, self._text("prompts")
        if circuit := self._text("circuit"):
            return self._of_circuit(Path(circuit))
        task = None if prompts else str(self.query_one("#task", Select).value)
        path = Path(prompts) if prompts else None
        if path is not None:
            load_prompts(path)
        chat = self.query_one("#chat", Select).value == CHAT
        asked = replace(self._request, task=task, prompts=path, circuit=None, sae_dirs=(), chat=chat)
        if model != self._request.model:
            asked = replace(asked, revision=None, sae_revisions=())  # they are those of the other model
        if model is None:
            return replace(asked, model=None, saes=(), site_flags=SiteFlags(), chat=False)
        if not model:
            raise UserError("model: type a name on the Hub or a folder")
        if self._folders:
            for folder in self._folders:
                if not (folder.expanduser() / "cfg.json").is_file():
                    raise UserError(f"or folders: {folder}: no folder of an SAE (it has no cfg.json)")
            return replace(asked, model=model, saes=(), sae_dirs=self._folders, site_flags=SiteFlags())
        if self._releases is None:
            raise UserError("the list of SAEs is still being read; please wait")
        if not self._release:
            raise UserError(f"{model}: sae-lens knows no SAEs for it; name folders of SAEs")
        describe_choice(model, self._release, self._flags)
        return replace(asked, model=model, saes=(self._release,), site_flags=self._flags)

    def _of_circuit(self, path: Path) -> OpenRequest:
        """The request for a circuit file, which says itself what to open; where to compute stays as it is."""
        from circuit_tui.core.circuits.circuit_file import read_circuit  # pydantic
        from circuit_tui.core.circuits.mask_file import is_mask_file

        if is_mask_file(path):
            raise UserError(f"or circuit: {path}: masks name no model; open them with circuit-tui explore --circuit")
        read_circuit(path)
        was = self._request
        return OpenRequest(circuit=path, device=was.device, device_map=was.device_map, batch=was.batch, seed=was.seed)

    def _show_model(self) -> None:
        """Offer the releases of the chosen model."""
        self.query_one("#other", Input).disabled = self.query_one("#model", Select).value != OTHER
        select, model = self.query_one("#release", Select), self._model
        for name in ("#folders", "#layers", "#width", "#l0", "#chat"):
            self.query_one(name).disabled = model is None
        offered = releases_for(model, self._releases) if model and self._releases else ()
        select.set_options([(plain(f"{release.name}  {release.site}"), release.name) for release in offered])
        if offered:
            select.value = offered[0].name
        if self._releases is not None:
            select.prompt = "the demo's own" if model is None else "none known"
        select.disabled = not offered
        self._show_release()

    def _suit_task(self) -> None:
        """Choose the model's default task in place of one that is in another language."""
        task = self.query_one("#task", Select)
        known = preset_of(self._model)
        if task.value not in tasks_of(self._model) and (self._model is None or (known is not None and known.tasks)):
            task.value = default_task(self._model)

    def _show_release(self) -> None:
        """Fill in the defaults of the chosen release, and say which layers and widths it has."""
        chosen = next((release for release in self._releases or () if release.name == self._release), None)
        known = preset_of(self._model)
        default = known if known is not None and known.release == self._release else None
        if chosen is not None and not self._request.site_flags.given:
            self.query_one("#layers", Input).value = ",".join(map(str, default.layers)) if default else ""
            self.query_one("#width", Input).value = (default.width or "") if default else ""
            self.query_one("#l0", Input).value = (default.l0 or "") if default else ""
        self.query_one("#layers-hint", Label).update(plain(f"it has {chosen.layers}" if chosen else ""))
        widths = ", ".join(width_text(width) for width in chosen.widths) if chosen else ""
        self.query_one("#width-hint", Label).update(plain(f"it has {widths}" if widths else ""))
        self._describe()

    def _describe(self) -> None:
        """Show how much the choice is to download, or what is wrong with it."""
        model, release = self._model, self._release
        if circuit := self._text("circuit"):
            self._say(f"The circuit file {circuit} says what to open.")
        elif model is None:
            self._say("A small model with its SAEs; nothing to download.")
        elif self._folders:
            self._say(f"{len(self._folders)} SAEs from folders; layers, width and L0 apply to released SAEs only.")
        elif self._releases is None:
            self._say("Reading sae-lens' registry …")
        elif not release:
            self._say(
                f"sae-lens knows no SAEs for {model}: name folders."
                if model
                else "Type a name on the Hub, or a folder."
            )
        else:
            try:
                pick = describe_choice(model, release, self._flags)
            except UserError as error:
                self._say(str(error), error=True)
                return
            rest = len(pick.names) - pick.on_disk
            size = f", ~{size_text(pick.to_fetch)}" if pick.to_fetch else ""
            fetch = f"{rest} to fetch{size}" if rest else "all on disk"
            folder = Path(model).expanduser().is_dir()
            where = f"the model is {'a folder' if folder else 'on disk' if pick.model_on_disk else 'to be fetched'}"
            self._say(f"{len(pick.names)} SAEs ({fetch}); {where}\n{' '.join(n.partition(':')[2] for n in pick.names)}")

    def _say(self, text: str, *, error: bool = False) -> None:
        status = self.query_one("#status", Static)
        status.update("\n".join(map(printable, text.split("\n"))))
        status.set_class(error, "-error")
