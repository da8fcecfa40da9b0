"""The templates of a task, by which the words of a free prompt get their roles.

They are read off from the task's prompts, wherever these come from. What `tasks/templates.py` reads is the other way
round: templates out of which prompts are made.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

from circuit_tui.core.errors import UserError
from circuit_tui.core.tasks.task import Pair, Task


@dataclass(frozen=True, slots=True)
class RoleTemplate:
    """The prompts of a task whose words have the same roles.

    Attributes:
        words: the word that all of them have at each place; None at a slot.
        roles: the role of each word.
        repeated: pairs of slots that have the same word in every clean prompt, such as a name that is said twice.
    """

    words: tuple[str | None, ...]
    roles: tuple[str, ...]
    repeated: tuple[tuple[int, int], ...] = ()

    @property
    def n_fixed(self) -> int:
        """Number of words that are no slot."""
        return sum(word is not None for word in self.words)

    def matches(self, text: str) -> bool:
        """Whether `text` has these words; any word fits a slot."""
        words = text.split()
        return len(words) == len(self.words) and all(
            fixed in (None, word) for fixed, word in zip(self.words, words, strict=True)
        )

    def n_repeated(self, text: str) -> int:
        """Returns in how many pairs of `repeated` the words of `text` are the same."""
        words = text.split()
        return sum(words[first] == words[second] for first, second in self.repeated)

    def __str__(self) -> str:
        """The words, with the role in brackets at each slot."""
        return " ".join(word or f"[{role}]" for word, role in zip(self.words, self.roles, strict=True))


def templates_of(task: Task) -> tuple[RoleTemplate, ...]:
    """Returns the templates of the train prompts of `task`, clean and corrupt; none where its prompts have no roles."""
    rows: dict[tuple[str, ...], list[Pair]] = defaultdict(list)
    for pair in task.split("train"):
        if pair.roles:
            rows[pair.roles].append(pair)
    return tuple(_template(roles, pairs) for roles, pairs in rows.items())


def _template(roles: tuple[str, ...], pairs: Sequence[Pair]) -> RoleTemplate:
    clean = list(zip(*(pair.clean.split() for pair in pairs), strict=True))  # the words at each place
    corrupt = zip(*(pair.corrupt.split() for pair in pairs), strict=True)
    words = tuple(own[0] if len({*own, *other}) == 1 else None for own, other in zip(clean, corrupt, strict=True))
    slots = [place for place, word in enumerate(words) if word is None]
    return RoleTemplate(words, roles, tuple((a, b) for a, b in combinations(slots, 2) if clean[a] == clean[b]))


def matching_roles(task: Task, text: str) -> tuple[str, ...]:
    """Returns the roles of the words of `text`, by the template of `task` that it matches.

    Of several, the one that fixes most of its words; of those, the one most of whose repeated slots repeat in it.

    Raises:
        UserError: no template matches, or two do equally well; the message says how to give roles.
    """
    templates = templates_of(task)
    found = sorted(
        ((each.n_fixed, each.n_repeated(text), each) for each in templates if each.matches(text)),
        key=lambda each: each[:2],
        reverse=True,
    )
    if not found:
        roles = ", ".join(dict.fromkeys(role for template in templates for role in template.roles))
        raise UserError(
            f"the prompt {text!r} matches no template of task {task.name}; "
            f"name the role of each of its words with --roles (the task has {roles})"
        )
    if len(found) > 1 and found[0][:2] == found[1][:2]:
        raise UserError(
            f"the prompt {text!r} matches two templates of task {task.name}, '{found[0][2]}' and '{found[1][2]}'; "
            f"name the role of each of its words with --roles"
        )
    return found[0][2].roles
