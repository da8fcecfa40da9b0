"""The choices that a user makes by name: how nodes are told apart and ablated, and how a model is loaded."""

from __future__ import annotations

from typing import Literal, get_args

PositionsKind = Literal["each", "end", "shared"]
AblationKind = Literal["mean", "clean-mean", "zero", "resample"]
ErrorsKind = Literal["drop", "mean", "keep"]
ObjectiveKind = Literal["logit-diff", "kl", "prob", "accuracy", "per-prompt"]
PaddingKind = Literal["right", "left"]
POSITIONS: tuple[PositionsKind, ...] = get_args(PositionsKind)
ABLATIONS: tuple[AblationKind, ...] = get_args(AblationKind)
ERRORS: tuple[ErrorsKind, ...] = get_args(ErrorsKind)
OBJECTIVES: tuple[ObjectiveKind, ...] = get_args(ObjectiveKind)
PADDINGS: tuple[PaddingKind, ...] = get_args(PaddingKind)
DTYPES = ("float32", "bfloat16", "float16")
"""Names of torch's dtypes that a model can be loaded in."""
DEVICE_MAPS = ("auto",)
"""How a model's blocks may be spread over several devices."""

Verdict = Literal["good", "doubtful", "bad", "not measured"]
VERDICTS: tuple[Verdict, ...] = get_args(Verdict)
"""Of one line of an audit, from the best to the worst."""
Outcome = Literal["believable", "believable within limits", "do not believe", "not finished"]
"""Of an audit as a whole."""
