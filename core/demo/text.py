"""The text on which the audit prices the splice: documents of the demo's language that no training has seen.

`python -m circuit_tui.core.demo.text` writes `text.txt` beside this module anew. A blank line ends a document.
"""

from __future__ import annotations

from circuit_tui.core.demo import text_path
from circuit_tui.core.demo.corpus import Corpus

SEED = 20_260_101
"""It is far from the seeds of the training streams."""
DOCUMENTS = 200


def text() -> str:
    """Returns the content of `text.txt`."""
    corpus = Corpus(SEED)
    return "\n\n".join(" ".join(corpus.words()) for _ in range(DOCUMENTS)) + "\n"


if __name__ == "__main__":
    text_path().write_text(text(), encoding="utf-8")
