"""A templates file (TOML): word lists, templates with slots, and the two sides of a pair. `make_task.py` fills them in.

[words]                                # lists of words, by name
owner = "cabinet cabinets room rooms"
[words.thing]                          # a list with columns: words in the same place belong together
one = "key label"
many = "keys labels"

[draw]                                 # what is drawn for each pair
n = "thing"                            # a row of a list; two draws from one list are different rows
o = "owner"

[[sides]]                              # what clean and corrupt prompt put into the slots, and what follows each
clean = { subject = "{n.one}", answer = " is" }
corrupt = { subject = "{n.many}", answer = " are" }

[[templates]]
text = "The {subject} near the {o}"
roles = "det subject link det2 end"    # a position name for each word
"""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from circuit_tui.core.atomic_file import read_text
from circuit_tui.core.errors import UserError

_Text = Annotated[str, Field(min_length=1)]
_Columns = dict[_Text, _Text]
SLOT = re.compile(r"\{([^{}]*)\}")
"""A slot of a template, or what a side puts into one: ``{name}`` or ``{draw.column}``."""
ANSWER = "answer"
"""The key of a side with the text that follows its prompt."""


class _Part(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)


class Sides(_Part):
    """The two sides of a pair: the text of each slot that differs, and of `ANSWER`."""

    clean: dict[_Text, _Text]
    corrupt: dict[_Text, _Text]


class Template(_Part):
    """One template; `draw` and `sides` of its own take the place of the file's, name by name and as a whole."""

    text: _Text
    roles: str = ""
    unseen: bool = False
    draw: dict[_Text, _Text | list[_Text]] = {}
    sides: list[Sides] = []

    @property
    def words(self) -> list[str]:
        """The words between spaces."""
        return self.text.split()


class Templates(_Part):
    """A whole file.

    Attributes:
        words: each list, a text of words between spaces, or several such texts by the name of their column.
        draw: the list of each draw as ``LIST`` or ``LIST.COLUMN``; of several one is taken.
        sides: of several one is taken for each pair.
        pairs: the most pairs of each template.
        twins: whether each pair is followed by the same with clean and corrupt exchanged.
        split_by: a list no word of which is in train and test; empty splits by the texts of the pairs.
        single_tokens: whether words that are several tokens for the model are left out of the lists.
    """

    description: str = ""
    seed: int = 0
    pairs: Annotated[int, Field(ge=1)] = 200
    twins: bool = True
    split_by: str = ""
    single_tokens: bool = True
    words: dict[_Text, _Text | _Columns] = {}
    draw: dict[_Text, _Text | list[_Text]] = {}
    sides: list[Sides] = []
    templates: Annotated[list[Template], Field(min_length=1)]

    def sides_of(self, template: Template) -> list[Sides]:
        """The sides of which a pair of `template` has one."""
        return template.sides or self.sides

    def draws_of(self, template: Template) -> dict[str, tuple[str, ...]]:
        """What a pair of `template` draws: for each name the ``LIST`` or ``LIST.COLUMN`` of which one is taken."""
        both = {**self.draw, **template.draw}
        return {name: (drawn,) if isinstance(drawn, str) else tuple(drawn) for name, drawn in both.items()}

    def columns(self, name: str) -> dict[str, list[str]]:
        """The columns of a word list; a list without columns is one column with the list's own name."""
        found = self.words[name]
        return {name: found.split()} if isinstance(found, str) else {key: text.split() for key, text in found.items()}


def read_templates(path: Path) -> Templates:
    """Reads a templates file.

    Raises:
        UserError: not to be read, no TOML, or something in it is missing, misnamed or does not fit; the line names it.
    """
    try:
        data = tomllib.loads(read_text(path, "templates file"))
    except tomllib.TOMLDecodeError as error:
        raise UserError(f"{path}: not TOML: {error}") from error
    try:
        found = Templates.model_validate(data)
    except ValidationError as error:
        raise UserError(f"{path}: {_describe(error)}") from error
    _check(found, path)
    return found


def _describe(error: ValidationError) -> str:
    first: Any = error.errors(include_url=False, include_input=False)[0]
    # Pydantic names each kind that a value may have; the path of keys is what a reader can look up.
    keys = [str(key) for key in first["loc"] if not re.fullmatch(r"(constrained-)?(str|list|dict)\b.*", str(key))]
    where = ".".join(keys)
    if first["type"] == "missing":
        return f"{where} is missing"
    if first["type"] == "extra_forbidden":
        return f"{where}: there is no such key"
    return f"{where}: {first['msg'].replace('Input should be', 'should be')}"


def _check(found: Templates, path: Path) -> None:
    """Checks everything that refers to something else."""
    for name in found.words:
        columns = found.columns(name)
        lengths = {column: len(words) for column, words in columns.items()}
        if len(set(lengths.values())) > 1:
            told = ", ".join(f"{column} {length}" for column, length in lengths.items())
            raise UserError(f"{path}: words.{name}: its columns have several lengths ({told})")
        if not min(lengths.values(), default=0):
            raise UserError(f"{path}: words.{name}: it has no words")
    if found.split_by and found.split_by not in found.words:
        raise UserError(f"{path}: split_by: there is no word list {found.split_by!r}")
    if all(template.unseen for template in found.templates):
        raise UserError(f"{path}: templates: all are unseen; train and test need one that is not")
    for number, template in enumerate(found.templates, 1):
        where = f"{path}: template {number}"
        roles = template.roles.split()
        if roles and len(roles) != len(template.words):
            raise UserError(f"{where}: roles: {len(roles)} names for the {len(template.words)} words of its text")
        if bool(roles) != bool(found.templates[0].roles.split()):
            raise UserError(f"{where}: roles: either every template has them or none")
        draws = found.draws_of(template)
        for name, drawn in draws.items():
            for one in drawn:
                _check_drawn(found, f"{where}: draw.{name}", one)
        sides = found.sides_of(template)
        if not sides:
            raise UserError(f"{where}: sides: there are none, neither here nor in the file")
        for side in sides:
            if set(side.clean) != set(side.corrupt):
                raise UserError(f"{where}: sides: clean and corrupt have to fill the same slots")
            if ANSWER not in side.clean:
                raise UserError(f"{where}: sides: {ANSWER} is missing")
            for text in (*side.clean.values(), *side.corrupt.values()):
                _check_slots(found, where, text, draws)
            _check_slots(found, where, template.text, draws, set(side.clean) - {ANSWER})


def _check_drawn(found: Templates, where: str, drawn: str) -> None:
    name, dot, column = drawn.partition(".")
    if name not in found.words:
        raise UserError(f"{where}: there is no word list {name!r}; there are {', '.join(found.words) or 'none'}")
    if dot and column not in found.columns(name):
        raise UserError(f"{where}: {name} has no column {column!r}; it has {', '.join(found.columns(name))}")


def _check_slots(
    found: Templates, where: str, text: str, draws: dict[str, tuple[str, ...]], filled: set[str] | None = None
) -> None:
    """Checks that everything in braces in `text` is a draw with the column that is asked for, or is `filled`."""
    for slot in SLOT.findall(text):
        if slot in (filled or ()):
            continue
        name, dot, column = slot.partition(".")
        if name not in draws:
            known = ", ".join([*draws, *sorted(filled or ())]) or "nothing"
            raise UserError(f"{where}: {{{slot}}} in {text!r}: nothing fills it; there are {known}")
        for drawn in draws[name]:
            lists, _, fixed = drawn.partition(".")
            columns = [fixed] if fixed else list(found.columns(lists))
            if (dot and column not in columns) or (not dot and len(columns) > 1):
                raise UserError(
                    f"{where}: {{{slot}}} in {text!r}: name one of the columns of {lists}, as {{{name}.{columns[0]}}}"
                )
