"""Filters and order of nodes, against the same done one node at a time."""

from __future__ import annotations

import math
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from circuit_tui.core.errors import UserError
from circuit_tui.core.latents.node_filter import NUMBERS, NumberTerm, TextTerm, parse_filter
from circuit_tui.core.latents.node_list import NodeList
from circuit_tui.core.latents.views import LatentColumns, TopTokens, UserWords
from circuit_tui.core.views import NodeTable, SiteInfo

POSITIONS = ("subject", "end")
LABELS = ("plural noun", "", "to ,", "End")
WORDS = (" is", " are", " was")


def make_table(n_latents: int = 12, seed: int = 0) -> NodeTable:
    draw = random.Random(seed)
    rows = [
        (site, 3 * latent + 1, position)
        for site in range(2)
        for latent in range(n_latents)
        for position in range(2)
        if draw.random() < 0.7
    ]
    label = {key: draw.choice(LABELS) for key in {(site, latent) for site, latent, _ in rows}}
    numbers = [tuple(draw.choice([0.0, 0.25, 0.5, draw.random()]) for _ in rows) for _ in range(4)]
    sites = tuple(SiteInfo(f"blocks.{s}.hook_resid_post", f"L{s}", "sae", "standard", 99, 0) for s in range(2))
    return NodeTable(
        sites, POSITIONS, *zip(*[(s, p, k) for s, k, p in rows], strict=True),  # type: ignore[arg-type]
        label=tuple(label[s, k] for s, k, _ in rows), mean_clean=numbers[0], mean_corrupt=numbers[1], max=numbers[2],
        frequency=numbers[3], difference=tuple(draw.choice([None, 0.5, 1.0]) for _ in rows),
    )  # fmt: skip


TABLE = make_table()
N = len(TABLE)
DRAW = random.Random(1)
KEPT = bytes(DRAW.random() < 0.5 for _ in range(N))
EFFECT = tuple(DRAW.choice([None, -0.5, 0.25, 0.02]) if on else None for on in KEPT)
PUSH = tuple(DRAW.choice([None, -1.0, 0.5, -0.25]) for _ in range(N))
LATENTS = sorted(set(zip(TABLE.site, TABLE.latent, strict=True)))
TOKENS = {key: ((DRAW.choice(WORDS),), (DRAW.choice(WORDS),)) for key in LATENTS[::2]}
USER = UserWords(
    labels={LATENTS[3]: "the mover", LATENTS[4]: "on"},
    marked=frozenset({1, 5}),
    groups={2: ("Late",), 5: ("late", "x")},
)


def opened() -> NodeList:
    nodes = NodeList(TABLE)
    nodes.set_circuit(KEPT, EFFECT)
    rows = tuple(TopTokens(site, latent, *TOKENS[site, latent]) for site, latent in TOKENS)
    nodes.add_columns(LatentColumns(PUSH, (rows[:5], rows[5:]), len(rows), len(LATENTS)))
    nodes.set_words(USER)
    return nodes


NODES = opened()


def number(node: int, column: str) -> float:
    value = {
        "latent": TABLE.latent, "clean": TABLE.mean_clean, "corrupt": TABLE.mean_corrupt, "diff": TABLE.difference,
        "max": TABLE.max, "freq": TABLE.frequency, "effect": EFFECT, "push": PUSH, "share": (None,) * N,
    }[column][node]  # fmt: skip
    return math.nan if value is None else float(value)


def label(node: int) -> str:
    return USER.labels.get((TABLE.site[node], TABLE.latent[node])) or TABLE.label[node]


def tokens(node: int, end: int) -> tuple[str, ...]:
    return TOKENS.get((TABLE.site[node], TABLE.latent[node]), ((), ()))[end]


def expected(node: int, word: str) -> bool:
    """Whether a node meets one word of a filter, by the words of the language's definition."""
    for operator, compare in (
        (">=", lambda a, b: a >= b), ("<=", lambda a, b: a <= b), ("!=", lambda a, b: a != b),
        (">", lambda a, b: a > b), ("<", lambda a, b: a < b), ("=", lambda a, b: a == b),
    ):  # fmt: skip
        column, found, value = word.partition(operator)
        if not found:
            continue
        if column in NUMBERS:
            own = number(node, column)
            return not math.isnan(own) and compare(own, float(value))
        words = {
            "site": [f"l{TABLE.site[node]}"],
            "pos": [POSITIONS[TABLE.position[node]]],
            "label": [label(node).lower(), *label(node).lower().split()],
            "promotes": [token.strip() for token in tokens(node, 0)],
            "suppresses": [token.strip() for token in tokens(node, 1)],
            "group": [name.lower() for name in USER.groups.get(node, ())],
        }[column]
        return compare(value.lower() in words, True)
    if word in ("on", "off"):
        return bool(KEPT[node]) == (word == "on")
    if word == "marked":
        return node in USER.marked
    text = word.strip('"').lower()
    named = [f"l{TABLE.site[node]}", POSITIONS[TABLE.position[node]]]
    return (
        any(text in own for own in named)
        or text in " ".join([str(TABLE.latent[node]), label(node), *tokens(node, 0)]).lower()
    )


TERMS = st.sampled_from(
    ["effect>0.02", "effect>=0.02", "effect<0", "push!=0.5", "push=-1", "clean<=0.25", "diff>0.5", "freq!=0", "max<0.5",
     "latent>20", "site=L1", "pos=END", "pos!=end", "label=mover", "label=noun", "promotes=is", "suppresses!=was",
     "group=late", "group!=late", "on", "off", "marked", "are", "L0", '"on"', "1", "noun", "subj", "share>0"]
)  # fmt: skip


@settings(deadline=None, max_examples=150)
@given(st.lists(TERMS, max_size=3))
def test_a_filter_lists_the_nodes_that_meet_every_term(words: list[str]) -> None:
    mask = NODES.matching(parse_filter("  ".join(words)))
    assert mask.tolist() == [all(expected(node, word) for word in words) for node in range(N)]


def latent_value(nodes: tuple[int, ...], column: str) -> float | None:
    values = [value for node in nodes if not math.isnan(value := number(node, column))]
    if column in ("effect", "push"):
        return max(values, key=abs, default=None)
    return max(values, default=None)


@settings(deadline=None, max_examples=120)
@given(st.sampled_from([c for c in NUMBERS if c != "latent"]), st.booleans(), st.booleans(), st.integers(0, 2**20))
def test_numbers_sort_from_the_largest_with_the_unknown_last(
    column: str, reverse: bool, by_site: bool, seed: int
) -> None:
    draw = random.Random(seed)
    mask = NODES.matching(())
    mask[[node for node in range(N) if draw.random() < 0.4]] = False
    listing = NODES.listing(mask, column, reverse=reverse, by_site=by_site)
    rows = [listing.nodes_of(index) for index in range(len(listing.runs))]
    assert sorted(node for row in rows for node in row) == [node for node in range(N) if mask[node]]
    for row in rows:
        assert len({(TABLE.site[node], TABLE.latent[node]) for node in row}) == 1
        assert NODES.value(column, row) == latent_value(row, column)

    def key(row: tuple[int, ...]) -> tuple[object, ...]:
        value = latent_value(row, column)
        rank = (1, 0.0) if value is None else (0, value if reverse else -value)
        if value is not None and column in ("effect", "push") and -value in [number(n, column) for n in row]:
            rank = (0, abs(value) if reverse else -abs(value))  # a tie of two nodes: either is furthest from 0
        return (TABLE.site[row[0]] if by_site else 0, *rank, row[0])

    assert rows == sorted(rows, key=key)


@pytest.mark.parametrize("column", ["label", "promotes", "suppresses", "pos", "latent"])
def test_words_sort_by_name_with_the_nameless_last(column: str) -> None:
    for by_site in (True, False):
        listing = NODES.listing(NODES.matching(()), column, by_site=by_site)
        rows = [listing.nodes_of(index)[0] for index in range(len(listing.runs))]
        own = {
            "label": lambda node: label(node).lower(),
            "promotes": lambda node: " ".join(tokens(node, 0)).strip().lower(),
            "suppresses": lambda node: " ".join(tokens(node, 1)).strip().lower(),
            "pos": lambda node: TABLE.position[node],
            "latent": lambda node: TABLE.latent[node],
        }[column]
        assert rows == sorted(rows, key=lambda n: (TABLE.site[n] if by_site else 0, own(n) == "", own(n), n))


def test_taking_a_label_back_brings_the_tables_back() -> None:
    nodes = opened()
    nodes.set_words(UserWords())
    assert nodes.label == NodeList(TABLE).label
    assert not nodes.matching(parse_filter("mover")).any()


def test_an_empty_list_has_no_rows() -> None:
    for column in ("effect", "clean", "label"):
        assert not len(NODES.listing(NODES.matching(parse_filter("nowhere")), column).runs)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("effect>x", "'x' is no number"),
        ("effect>", "'' is no number"),
        ("freq>nan", "'nan' is no number"),
        ("pos>end", "pos holds words; use = or !="),
        ("colour=red", "no column colour"),
    ],
)
def test_what_cannot_be_read_is_said(text: str, says: str) -> None:
    with pytest.raises(UserError, match=f"filter {text}: .*{says}"):
        parse_filter(f"on {text}")


def test_shares_of_a_hundred_and_quotes() -> None:
    assert parse_filter('freq>50% "two words" x =') == (
        NumberTerm("freq", ">", 0.5),
        TextTerm("two words"),
        TextTerm("x"),
        TextTerm("="),
    )
