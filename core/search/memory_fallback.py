"""What a search goes on with when memory runs out."""

from __future__ import annotations

from dataclasses import replace

from circuit_tui.core.runtime.out_of_memory import free_cached, halve_prompts
from circuit_tui.core.runtime.user_log import user_log
from circuit_tui.core.splice.problem import Problem


class MemoryFallback:
    """Halves the prompts in one pass; where one prompt is too many, no longer stores activations for gradients.

    Args:
        what: the computation, as the subject of a sentence.

    Attributes:
        note: a sentence on what was given up; empty as long as memory has not run out.
    """

    def __init__(self, what: str) -> None:
        self._what = what
        self._first_limit: int | None = None
        self.note = ""

    def reduce(self, problem: Problem, limit: int, error: BaseException) -> Problem:
        """Returns `problem` with a lower demand, after `error`, and tells the user.

        Activations that are not stored are computed again in the backward pass (`Problem.recompute`), at first with as
        many prompts as in the beginning.

        Args:
            problem: what ran out of memory.
            limit: the largest number of prompts in one pass so far.
            error: the error about memory.

        Raises:
            OutOfMemory: one prompt is too many even so.
        """
        self._first_limit = self._first_limit or limit
        recompute = problem.recompute
        if limit > 1 or recompute:
            size = halve_prompts(limit, self._what, error)
        else:
            size, recompute = self._first_limit, True
            free_cached()
            user_log.warning(
                "Out of memory: %s goes on without keeping activations for its gradients: slower.", self._what
            )
        how = ", and computed activations again for every gradient" if recompute else ""
        self.note = f"Memory ran out: the search went on with at most {size} prompts in one pass{how}."
        return replace(problem, batch_size=size, recompute=recompute)
