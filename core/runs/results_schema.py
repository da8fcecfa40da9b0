"""The tables of a results file as SQL, and the columns of a run. A notebook reads them with ``pandas.read_sql``."""

from __future__ import annotations

import json
from dataclasses import fields
from typing import Any

from circuit_tui.core.runs.order import RunOrder
from circuit_tui.core.runs.record import RunRecord
from circuit_tui.core.views import Metrics

VERSION = 1
"""``PRAGMA user_version`` of a file with these tables."""

_PAIRS = ("per_prompt_iqr", "faithfulness_interval")  # the interval is in `record` alone: files without it are added to
_METRICS = [field.name for field in fields(Metrics) if field.name not in _PAIRS]
METRIC_COLUMNS = [f"{split}_{name}" for split in ("train", "test") for name in (*_METRICS, "iqr_low", "iqr_high")]

TABLES = f"""
CREATE TABLE runs (           -- one line for each run; a failed one has an error and no numbers
  id          TEXT PRIMARY KEY,  -- SHA-256 of the full specification
  status      TEXT NOT NULL CHECK (status IN ('done', 'failed')),
  model       TEXT NOT NULL,
  task        TEXT NOT NULL,
  sites       TEXT NOT NULL,     -- 'all', or hooks joined by '+'
  positions   TEXT,              -- each, end or shared; null in a failed run that left the choice to the task
  ablation    TEXT NOT NULL,
  errors      TEXT NOT NULL,
  method      TEXT NOT NULL,
  target      REAL NOT NULL,
  seed        INTEGER NOT NULL,
  settings    TEXT NOT NULL,     -- JSON object, defaults included
  size        INTEGER,           -- nodes of the circuit found
  reached     INTEGER,           -- 1 if the target was reached on the train prompts
  {", ".join(f"{name} REAL" for name in METRIC_COLUMNS)},
  candidates  INTEGER,
  n_train     INTEGER,
  n_test      INTEGER,
  steps       INTEGER,
  seconds     REAL,
  warnings    TEXT,              -- JSON list of sentences
  device      TEXT,
  threads     INTEGER,
  created     TEXT NOT NULL,     -- ISO 8601, UTC
  error       TEXT,              -- one line
  traceback   TEXT,
  opening     TEXT NOT NULL,     -- SHA-256 of what was opened: runs with the same can be compared
  record      TEXT               -- the whole record as JSON
);
CREATE TABLE frontier (       -- the circuits on the way of each run: faithfulness against M on both splits
  run   TEXT NOT NULL REFERENCES runs (id) ON DELETE CASCADE,
  size  INTEGER NOT NULL,
  train REAL NOT NULL,
  test  REAL NOT NULL,
  PRIMARY KEY (run, size)
);
CREATE TABLE nodes (          -- the circuit that each run found
  run      TEXT NOT NULL REFERENCES runs (id) ON DELETE CASCADE,
  hook     TEXT NOT NULL,
  position TEXT NOT NULL,
  latent   INTEGER NOT NULL,
  PRIMARY KEY (run, hook, position, latent)
);
CREATE INDEX runs_by_what ON runs (task, method, target, seed);
"""


def order_columns(order: RunOrder) -> dict[str, Any]:
    """Returns the columns of `runs` that are known before the run."""
    request, spec = order.request, order.spec
    return {
        "id": order.id,
        "opening": order.opening_key,
        "model": order.opening_spec["model"],
        "task": order.task,
        "sites": order.sites,
        "positions": request.positions,
        "ablation": request.ablation,
        "errors": request.errors,
        "method": spec.method,
        "target": spec.target,
        "seed": spec.seed,
        "settings": json.dumps(spec.settings, sort_keys=True),
    }


def record_columns(record: RunRecord) -> dict[str, Any]:
    """Returns the columns of `runs` that a finished run fills in."""
    row: dict[str, Any] = {
        "status": "done",
        "positions": record.subject.positions_kind,
        "size": record.size,
        "reached": int(record.reached),
        "candidates": record.subject.candidates,
        "n_train": record.subject.n_train,
        "n_test": record.subject.n_test,
        "steps": record.steps,
        "seconds": record.seconds,
        "warnings": json.dumps(list(record.warnings), ensure_ascii=False),
        "device": record.machine.device,
        "threads": record.machine.threads,
        "created": record.created,
        "record": record.model_dump_json(by_alias=True),
    }
    for split in ("train", "test"):
        part = getattr(record, split)
        row |= {f"{split}_{name}": getattr(part, name) for name in _METRICS}
        row[f"{split}_iqr_low"], row[f"{split}_iqr_high"] = part.per_prompt_iqr
    return row
