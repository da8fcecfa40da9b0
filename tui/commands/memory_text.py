"""A memory plan as a readable table."""

from __future__ import annotations

from dataclasses import asdict

from circuit_tui.core.hub.sizes import size_text
from circuit_tui.core.opening.request import OpenRequest
from circuit_tui.tui.commands import output, progress
from circuit_tui.tui.commands.boundary import DONE, NO


def print_plan(request: OpenRequest, *, json: bool, debug: bool) -> int:
    """Print how much of the device's memory `request` needs, without loading it; the exit code is 1 if it does not fit.

    Raises:
        UserError: the shapes of the model or the SAEs are not known.
    """
    with output.quiet(debug=debug):
        from circuit_tui.core.opening.memory_plan import plan_memory

        plan = plan_memory(request, progress.loading)
    if json:
        output.print_json({**asdict(plan), "fixed": plan.fixed, "total": plan.total})
        return DONE if plan.batch else NO
    rows = [("model", plan.model), ("SAEs", plan.saes), ("prompts", plan.prompts), ("circuits followed", plan.followed)]
    rows += [
        (
            f"a pass of {plan.batch} prompts" if plan.batch > 1 else "a pass of 1 prompt",
            max(1, plan.batch) * plan.a_prompt,
        )
    ]
    rows += [("together", plan.fixed + max(1, plan.batch) * plan.a_prompt)]
    if plan.free is not None:
        rows += [(f"free on {plan.device}", plan.free)]
    output.print_table(("memory", "size"), [(name, size_text(size)) for name, size in rows], right=("size",))
    if not plan.batch:
        output.print_line("It does not fit, even with one prompt at a time.")
    elif plan.batch < plan.n_prompts:
        output.print_line(
            f"{plan.batch} of {plan.n_prompts} prompts fit into a pass, so they are run that many at a time."
        )
    return DONE if plan.batch else NO
