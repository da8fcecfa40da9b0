"""Flags choose SAEs of sae-lens' registry; layers, widths and hooks are read from its names."""

from __future__ import annotations

import pytest

from circuit_tui.core.errors import UserError
from circuit_tui.core.saes.choose_saes import choose_saes
from circuit_tui.core.saes.registry import RegisteredSae, releases, saes_of
from circuit_tui.core.saes.sae_filter import ALL_SITES, SiteFlags, parse_layers, parse_width

NINE = "gemma-scope-9b-pt-res"


def chosen(release: str, model: str | None = None, **flags: object) -> list[str]:
    names = choose_saes((release,), SiteFlags(**flags), model)  # type: ignore[arg-type]
    assert all(name.startswith(f"{release}:") for name in names)
    return [name.partition(":")[2] for name in names]


def test_layers_width_and_l0_choose_among_a_release_s_saes() -> None:
    assert chosen(f"{NINE}-canonical", layers="7,14,21,40", width="16k") == [
        f"layer_{layer}/width_16k/canonical" for layer in (7, 14, 21, 40)
    ]
    assert chosen(NINE, layers="40", width="16384", l0="60") == ["layer_40/width_16k/average_l0_61"]
    assert chosen("gemma-scope-2-1b-pt-res", layers="7,22", width="65k", l0="medium") == [
        "layer_7_width_65k_l0_medium",
        "layer_22_width_65k_l0_medium",
    ]
    assert chosen("llama_scope_lxr_8x", layers="0-2") == ["l0r_8x", "l1r_8x", "l2r_8x"]


def test_every_takes_each_so_many_th_layer() -> None:
    assert chosen("gpt2-small-res-jb", every=5) == [
        "blocks.0.hook_resid_pre",
        "blocks.5.hook_resid_pre",
        "blocks.10.hook_resid_pre",
    ]
    # Of the layers that the release has, not of the model's.
    assert [sae.split("_")[1] for sae in chosen("gemma-scope-2-1b-pt-res", every=2)] == ["7", "17"]


def test_without_width_the_smallest_and_without_l0_the_middle_one() -> None:
    (name,) = chosen(NINE, layers="20")
    of_layer = [sae for sae in saes_of(NINE) if sae.layer == 20]
    narrow = [sae for sae in of_layer if sae.width == min(sae.width or 0 for sae in of_layer)]
    taken = next(sae for sae in narrow if sae.id == name)
    below = sum((sae.l0 or 0) < (taken.l0 or 0) for sae in narrow)
    assert abs(below - (len(narrow) - 1 - below)) <= 1
    # Not a second seed of the same size.
    assert chosen("gemma-scope-2-1b-pt-res", layers="7", width="262k", l0="medium") == ["layer_7_width_262k_l0_medium"]


def test_a_known_model_brings_its_release_and_flags_change_it() -> None:
    nine = choose_saes((), ALL_SITES, "google/gemma-2-9b")
    assert nine == tuple(f"{NINE}-canonical:layer_{layer}/width_16k/canonical" for layer in (7, 14, 21, 40))
    assert choose_saes((f"{NINE}-canonical",), ALL_SITES, "gemma-2-9b") == nine
    wider = choose_saes((), SiteFlags(layers="9", width="131k"), "Gemma-2-9B")
    assert wider == (f"{NINE}-canonical:layer_9/width_131k/canonical",)
    assert choose_saes((), ALL_SITES, "somebody/model") == ()


def test_names_with_an_id_stay_as_they_are() -> None:
    both = choose_saes(("gpt2-small-res-jb:blocks.3.hook_resid_pre", "llama_scope_lxr_8x"), SiteFlags("4"), None)
    assert both == ("gpt2-small-res-jb:blocks.3.hook_resid_pre", "llama_scope_lxr_8x:l4r_8x")


@pytest.mark.parametrize(
    ("names", "flags", "says"),
    [
        ((), SiteFlags(layers="7"), "--layers: needs --sae RELEASE"),
        (("gpt2-small-res-jb:blocks.3.hook_resid_pre",), SiteFlags(width="16k"), "--width: needs --sae RELEASE"),
        ((NINE,), ALL_SITES, "which of its 536 SAEs? Choose with --layers or --every (it has layers 0-41)"),
        ((NINE,), SiteFlags(layers="7,99"), f"--layers 7,99: {NINE} has no SAE at layer 99; it has layers 0-41"),
        ((NINE,), SiteFlags(layers="7", width="17k"), "no such SAE at layer 7; it has 16,384, 131,072"),
        ((NINE,), SiteFlags(layers="7", l0="huge"), f"--l0 huge: no id of {NINE} at layer 7 has that word"),
        (("pythia-70m-deduped-res-sm",), SiteFlags(layers="1", l0="50"), "--l0 50: the registry knows no L0"),
        (("gemma-scope-9b-pt-ras",), SiteFlags(layers="7"), "unknown release; did you mean gemma-scope-9b-pt-res"),
        ((NINE,), SiteFlags(layers="7", every=2), "--layers and --every: give one of the two"),
        ((NINE,), SiteFlags(every=0), "--every 0: must be at least 1"),
        ((NINE,), SiteFlags(layers="7", width="wide"), "--width wide: write a number of latents"),
        ((NINE,), SiteFlags(layers="7", l0="-3"), "--l0 -3: write a number"),
    ],
)
def test_what_nothing_answers_to(names: tuple[str, ...], flags: SiteFlags, says: str) -> None:
    with pytest.raises(UserError) as error:
        choose_saes(names, flags, None)
    assert says in str(error.value)
    assert "\n" not in str(error.value)


def test_lists_of_layers() -> None:
    assert parse_layers("21, 7,7,3-5") == (3, 4, 5, 7, 21)
    for text in ("", "7,", "a", "7-3", "-1", "1.5", "0-99999"):
        with pytest.raises(UserError, match=r"write numbers and ranges"):
            parse_layers(text)


def test_widths_are_written_in_thousands_but_are_powers_of_two() -> None:
    written = {"16k": 2**14, "32k": 2**15, "65k": 2**16, "131k": 2**17, "262k": 2**18, "1m": 2**20, "24576": 24576}
    assert {text: parse_width(text) for text in written} == written
    assert (parse_width("80k"), parse_width("k"), parse_width("wide")) == (80 * 1024, None, None)


def known(name: str) -> RegisteredSae:
    release, _, sae_id = name.partition(":")
    return next(sae for sae in saes_of(release) if sae.id == sae_id)


@pytest.mark.parametrize(
    ("name", "hook", "width", "l0"),
    [
        ("gpt2-small-res-jb:blocks.7.hook_resid_pre", "blocks.7.hook_resid_pre", 24576, 54),
        ("gpt2-small-hook-z-kk:blocks.5.hook_z", "blocks.5.hook_z", 49152, 17),
        ("gemma-scope-2b-pt-res-canonical:layer_0/width_16k/canonical", "blocks.0.hook_resid_post", 16384, 105),
        ("gemma-scope-2b-pt-att-canonical:layer_3/width_65k/canonical", "blocks.3.attn.hook_z", 65536, None),
        ("gemma-scope-2b-pt-mlp-canonical:layer_3/width_65k/canonical", "blocks.3.hook_mlp_out", 65536, None),
        ("gemma-scope-2-1b-pt-res:layer_13_width_65k_l0_big", "blocks.13.hook_resid_post", 65536, 150),
        ("llama_scope_lxr_8x:l12r_8x", "blocks.12.hook_resid_post", 32768, 50),
        ("llama_scope_lxm_32x:l12m_32x", "blocks.12.hook_mlp_out", 131072, 50),
        ("qwen-scope-3-1.7b-base-w32k-l50:layer14", "blocks.14.hook_resid_post", 32768, 50),
        ("pythia-70m-deduped-res-sm:blocks.2.hook_resid_post", "blocks.2.hook_resid_post", 32768, None),
        ("gemma-scope-2b-pt-transcoders:layer_13/width_16k/average_l0_8", "blocks.13.ln2.hook_normalized", 16384, 8),
    ],
)
def test_what_the_registry_s_names_tell(name: str, hook: str, width: int, l0: float | None) -> None:
    sae = known(name)
    assert (sae.hook, sae.layer, sae.width) == (hook, int(hook.split(".")[1]), width)
    assert l0 is None or sae.l0 == l0


def test_sizes_of_downloads() -> None:
    assert known("gemma-scope-2b-pt-res-canonical:layer_0/width_16k/canonical").estimated_bytes == 2 * 2304 * 16384 * 4
    assert known("llama_scope_lxr_8x:l12r_8x").estimated_bytes == 2 * 4096 * 32768 * 2, "kept in bfloat16"
    assert known("gpt2-small-res_sce-ajt:blocks.6.hook_resid_pre").estimated_bytes is None


def test_every_release_can_be_read() -> None:
    for release in releases():
        for sae in saes_of(release):
            assert sae.width is None or 2**8 <= sae.width <= 2**24, sae
            assert sae.layer is None or 0 <= sae.layer < 200, sae
            assert sae.hook is None or f"blocks.{sae.layer}." in sae.hook, sae
