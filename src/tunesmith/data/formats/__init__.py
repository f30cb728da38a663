"""Data formats by name. A new format is one file here and one line in this table."""

from __future__ import annotations

from tunesmith.registry import Table

FORMATS = Table(
    "format",
    {
        "image-text": "tunesmith.data.formats.image_text:FORMAT",
        "preference": "tunesmith.data.formats.preference:FORMAT",
        "unpaired": "tunesmith.data.formats.unpaired:FORMAT",
        "steps": "tunesmith.data.formats.steps:FORMAT",
        "ranked": "tunesmith.data.formats.ranked:FORMAT",
        "messages": "tunesmith.data.formats.messages:FORMAT",
        "sharegpt": "tunesmith.data.formats.sharegpt:FORMAT",
        "alpaca": "tunesmith.data.formats.alpaca:FORMAT",
        "prompt-completion": "tunesmith.data.formats.prompt_completion:FORMAT",
        "squad": "tunesmith.data.formats.squad:FORMAT",
        "embedding": "tunesmith.data.formats.embedding:FORMAT",
        "tagged": "tunesmith.data.formats.tagged:FORMAT",
        "spans": "tunesmith.data.formats.spans:FORMAT",
        "labelled": "tunesmith.data.formats.labelled:FORMAT",
        "files": "tunesmith.data.formats.files:FORMAT",
        "text": "tunesmith.data.formats.text:FORMAT",
        "paragraphs": "tunesmith.data.formats.text:PARAGRAPHS",
        "lines": "tunesmith.data.formats.text:LINES",
    },
)
"""In the order in which `auto` asks them."""
