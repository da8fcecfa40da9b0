"""Makes the bundled demo: `python -m circuit_tui.core.demo.train --out DIR` writes DIR/model and DIR/saes.

It takes about 25 minutes on one core. The same seed and number of threads give the same weights on the same machine.
With glibc, MALLOC_MMAP_THRESHOLD_=4294967296 and MALLOC_TRIM_THRESHOLD_=4294967296 in the environment make the SAEs
train several times faster: large buffers are then kept instead of being returned to the system after every step.
"""

from __future__ import annotations

import argparse
import logging
import time
from pathlib import Path

import torch

from circuit_tui.core.demo import SITES
from circuit_tui.core.demo.corpus import tokenizer
from circuit_tui.core.demo.train_model import STEPS as MODEL_STEPS
from circuit_tui.core.demo.train_model import train_model
from circuit_tui.core.demo.train_saes import STEPS as SAE_STEPS
from circuit_tui.core.demo.train_saes import train_sae

_log = logging.getLogger(__name__)


def main() -> None:
    """Parses the command line, trains model and SAEs, and writes them."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="the folder to write model/ and saes/ into")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1, help="processor threads for torch")
    parser.add_argument("--model-steps", type=int, default=MODEL_STEPS)
    parser.add_argument("--sae-steps", type=int, default=SAE_STEPS)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    started = time.monotonic()

    model = train_model(given.seed, given.model_steps)
    model.save_pretrained(given.out / "model")
    tokenizer().save_pretrained(given.out / "model")
    _log.info("model written after %.0f s", time.monotonic() - started)
    for site, hook in enumerate(SITES):
        numbers = train_sae(model, site, given.seed + site, given.out / "saes" / hook, given.sae_steps)
        _log.info("%s written after %.0f s: %s", hook, time.monotonic() - started, numbers)


if __name__ == "__main__":
    main()
