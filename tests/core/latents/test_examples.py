"""Examples of a latent: no text twice, over the whole range of activation, against the activations themselves."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as some
from tiny.sessions import settle

from circuit_tui.core.errors import UserError
from circuit_tui.core.latents.examples import IN_BAND, MOST_TOP, N_BANDS, Found, banded, prompt_examples
from circuit_tui.core.session.session import Session
from circuit_tui.core.session.text_examples import AFTER, BEFORE, text_examples
from circuit_tui.core.views import TokenActivation

texts = some.lists(some.tuples(some.integers(0, 40), some.floats(0, 8)), max_size=80).map(
    lambda rows: [Found(name, peak, partial(TokenActivation, (f"t{name}",), (peak,), peak)) for name, peak in rows]
)


@given(texts)
def test_bands_cover_the_range_and_no_text_is_shown_twice(pool: list[Found]) -> None:
    bands = banded(pool)
    firing: dict[tuple[str, ...], float] = {}
    for found in pool:
        if found.peak > 0:
            tokens = found.show().tokens
            firing[tokens] = max(found.peak, firing.get(tokens, 0.0))
    shown = [text for band in bands for text in band.examples]
    assert len({text.tokens for text in shown}) == len(shown)
    assert all(firing[text.tokens] == text.peak for text in shown)
    if not firing:
        assert bands == ()
        return
    top, *rest = bands
    ordered = sorted(firing.values(), reverse=True)
    assert [text.peak for text in top.examples] == ordered[:MOST_TOP]
    for band in rest:
        assert 0 < len(band.examples) <= IN_BAND
        assert band.count == sum(band.low < peak <= band.high for peak in firing.values())
        assert all(band.low < text.peak <= band.high for text in band.examples)
    below = {int(min(peak / ordered[0] * N_BANDS, N_BANDS - 1e-9)) for peak in ordered[MOST_TOP:]}
    assert len(rest) >= min(1, len(below))
    assert sum(len(band.examples) for band in bands) == len(shown)


@pytest.fixture(scope="module")
def session(fresh: Callable[[str], Session]) -> Session:
    session = fresh("gpt2-each")
    session.only(range(0, len(session.table), 3))
    settle(session)
    return session


def test_prompts_of_both_sides_are_what_the_latent_fires_on(session: Session) -> None:
    problem, table = session.problem, session.table
    site, latent = table.site[-1], table.latent[-1]
    found = [each.show() for each in prompt_examples(problem, site, latent, float("inf")) if each.peak > 0]
    sae, sides = (
        problem.sites[site].sae,
        {"clean": problem.spliced_sae_inputs, "corrupt": problem.spliced_corrupt_sae_inputs},
    )
    for name, inputs in sides.items():
        whole = sae.encode(inputs[site].float())[..., latent]
        inside = problem.alignment.ids["train", name] >= 0  # type: ignore[index]
        peaks = (whole * inside).amax(1).reshape(len(problem.prompt_sets["train"]), -1).amax(1)
        own = sorted((text.peak for text in found if text.side == name), reverse=True)
        expected = sorted((float(peak) for peak in peaks if peak > 0), reverse=True)
        assert own == pytest.approx(expected, abs=1e-5)
    assert all(max(text.activations) == pytest.approx(text.peak, abs=1e-5) for text in found)


def test_right_and_wrong_are_the_circuits(session: Session) -> None:
    table = session.table
    view = session.latent_view(table.site[0], table.latent[0])
    shown = [text for band in view.bands for text in band.examples]
    assert shown
    assert {text.right for text in shown if text.side == "corrupt"} <= {None}
    measured = session.experiment.train.measure(session.kept).result().logit_diff
    pairs = session.problem.prompt_sets["train"].pairs
    by_text = {
        pairs[int(prompt)].clean.strip(): bool(measured[at] > 0)
        for at, prompt in enumerate(session.experiment.train.prompts.tolist())
    }
    clean = [text for text in shown if text.side == "clean"]
    assert clean
    for text in clean:
        assert text.right == by_text["".join(text.tokens).strip()]


def test_a_text_is_read_under_the_plain_model(session: Session, tmp_path: Path) -> None:
    problem, table = session.problem, session.table
    path = tmp_path / "text.txt"
    pairs = problem.prompt_sets["train"].pairs[:6]
    path.write_text("\n\n".join(pair.clean for pair in (*pairs, *pairs[:2])))
    site, latent = table.site[-1], table.latent[-1]
    found = text_examples(problem, site, latent, path)
    tokenizer, model = problem.model.tokenizer, problem.model
    bos = [] if tokenizer.bos_token_id is None else [tokenizer.bos_token_id]
    peaks, total = [], 0
    for text in {pair.clean for pair in pairs}:
        tokens = torch.tensor([bos + tokenizer.encode(text, add_special_tokens=False)])
        with torch.no_grad():
            hidden = model.run_blocks(model.embed(tokens), 0, problem.sites[site].depth)
        assert problem.sites[site].inside is None
        values = problem.sites[site].sae.encode(hidden.float())[0, len(bos) :, latent]
        peaks.append(float(values.max()))
    for pair in (*pairs, *pairs[:2]):
        total += len(tokenizer.encode(pair.clean, add_special_tokens=False))
    shown = [text for band in found.bands for text in band.examples]
    assert sorted(text.peak for text in shown) == pytest.approx(sorted(peak for peak in peaks if peak > 0), abs=1e-4)
    assert found.n_tokens == total
    assert all(len(text.tokens) <= BEFORE + 1 + AFTER for text in shown)
    path.write_text("")
    with pytest.raises(UserError, match="the file is empty"):
        text_examples(problem, site, latent, path)
