"""The runs that a comparison plans."""

from __future__ import annotations

from collections import Counter

import pytest

from circuit_tui.core.errors import UserError
from circuit_tui.core.runs.plan import GridValues, MethodVariant, doubled_sizes, method_label, parse_variants, plan_runs
from circuit_tui.core.search.registry import METHODS
from circuit_tui.core.search.spec import SearchSpec

GRIDS = GridValues(targets=(0.8, 0.95), lambdas=(0.1, 0.2, 0.4), sizes=(5, 10, 900))


def test_each_method_over_its_own_grid() -> None:
    specs = plan_runs(parse_variants("mask,published,hard-concrete,nested"), GRIDS, (0, 3), candidates=400)
    assert Counter((spec.method, spec.seed) for spec in specs) == {
        (method, seed): count
        for seed in (0, 3)
        for method, count in {"mask": 2, "published": 3, "hard-concrete": 2, "nested": 1}.items()
    }
    first = [spec for spec in specs if spec.seed == 0]
    assert [spec.target for spec in first if spec.method == "mask"] == [0.8, 0.95]
    assert [spec.settings["lambda"] for spec in first if spec.method == "published"] == [0.1, 0.2, 0.4]
    assert [spec.settings["size"] for spec in first if spec.method == "hard-concrete"] == [5, 10]
    assert {spec.target for spec in first if spec.method != "mask"} == {0.95}
    assert [spec.seed for spec in specs] == sorted(spec.seed for spec in specs)


def test_a_method_without_chance_runs_once() -> None:
    specs = plan_runs(parse_variants("ig,atp,activation-difference,random"), GRIDS, (4, 5, 6), candidates=400)
    assert Counter(spec.method for spec in specs) == {"ig": 1, "atp": 1, "activation-difference": 1, "random": 3}
    assert {spec.seed for spec in specs if spec.method == "ig"} == {4}


def test_a_given_setting_replaces_the_grid() -> None:
    (spec,) = plan_runs(parse_variants("published:lambda=0.3:steps=9"), GRIDS, (0,), candidates=400)
    assert (spec.settings["lambda"], spec.settings["steps"]) == (0.3, 9)


def test_labels_tell_variants_apart_and_runs_of_one_grid_together() -> None:
    chosen = parse_variants("ig,ig:errors=true,ig:steps=5:errors=true,published")
    specs = plan_runs(chosen, GRIDS, (0,), candidates=400)
    names = ["ig", "ig:errors=true", "ig:steps=5:errors=true", *["published"] * 3]
    assert [method_label(spec) for spec in specs] == names


def test_every_grid_of_the_registry_can_be_planned() -> None:
    for name, method in METHODS.items():
        assert plan_runs([MethodVariant(name)], GRIDS, (0,), candidates=400), name
        assert method.grid in {"", "target"} or method.grid in {setting.name for setting in method.settings}


@pytest.mark.parametrize(
    ("candidates", "sizes"), [(1, (1,)), (8, (5,)), (100, (5, 10, 20, 40)), (400, (5, 10, 20, 40, 80, 160))]
)
def test_doubled_sizes_stay_within_half(candidates: int, sizes: tuple[int, ...]) -> None:
    assert doubled_sizes(candidates) == sizes
    specs = plan_runs([MethodVariant("hard-concrete")], GridValues(), (0,), candidates)
    assert tuple(spec.settings["size"] for spec in specs) == sizes


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "--methods: name at least one"),
        ("maks", "--method maks: unknown method.* did you mean mask"),
        ("ig:errors", "--methods ig:errors: write NAME:SETTING=VALUE"),
        ("ig:error=true", "--set error: method ig has no such setting"),
        ("ig,mask,ig", "--methods ig: named twice"),
        ("ig:errors=true,ig:errors=1", "--methods ig:errors=true: named twice"),
    ],
)
def test_bad_lists(text: str, says: str) -> None:
    with pytest.raises(UserError, match=says):
        parse_variants(text)


def test_seeds_and_targets_out_of_range() -> None:
    with pytest.raises(UserError, match="--seed"):
        plan_runs([MethodVariant("mask")], GRIDS, (2**63,), 10)
    with pytest.raises(UserError, match="--target 2"):
        plan_runs([MethodVariant("mask")], GridValues(targets=(2.0,)), (0,), 10)
    assert method_label(SearchSpec("published", 0.5, 0, {"lambda": 9.0}).complete()) == "published"
