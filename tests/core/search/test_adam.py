"""Our optimiser against torch's own, and that its state is restored in place."""

from __future__ import annotations

import pytest
import torch

from circuit_tui.core.search.adam import Adam

N, STEPS = 50, 40


def gradient(step: int) -> torch.Tensor:
    return torch.randn(N, generator=torch.Generator().manual_seed(step)) * 10.0 ** (step % 5 - 3)


@pytest.mark.parametrize("betas", [(0.9, 0.99), (0.9, 0.999)])
def test_it_moves_as_that_of_torch(betas: tuple[float, float]) -> None:
    rates = [0.05 * (1 - step / STEPS) for step in range(STEPS)]
    ours, theirs = torch.ones(N), torch.ones(N, requires_grad=True)
    adam, reference = Adam(ours, rates, betas), torch.optim.Adam([theirs], betas=betas)
    for step, rate in enumerate(rates):
        adam.step(gradient(step))
        theirs.grad = gradient(step)
        for group in reference.param_groups:
            group["lr"] = rate
        reference.step()
        assert torch.equal(ours, theirs.detach())


def test_its_state_is_restored_where_it_lies() -> None:
    parameters = torch.zeros(2, N)
    first, second = (Adam(parameter, [0.1] * STEPS) for parameter in parameters)
    places = [second._first.data_ptr(), second._second.data_ptr(), second._taken.data_ptr()]
    for step in range(5):
        first.step(gradient(step))
    stored = first.state_dict()
    first.step(gradient(5))  # what was stored is a copy
    parameters[1] = parameters[0] * 0 + 1
    second.load_state_dict(stored)
    assert places == [second._first.data_ptr(), second._second.data_ptr(), second._taken.data_ptr()]
    again = Adam(torch.ones(N), [0.1] * STEPS)
    again.load_state_dict(stored)
    for step in (7, 8):
        second.step(gradient(step))
        again.step(gradient(step))
    assert torch.equal(parameters[1], again._parameter)
    assert second.state_dict()["taken"] == 7
