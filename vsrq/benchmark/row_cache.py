"""Rows of a long table, kept one file each, so that it can be computed in pieces."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any


class RowCache:
    """Results by what they depend on.

    Args:
        folder: Where the files lie; made when the first row is kept.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def get(self, inputs: Mapping[str, Any]) -> dict[str, Any] | None:
        """Return the row computed from ``inputs``, or ``None``."""
        path = self._path(inputs)
        return json.loads(path.read_text())["row"] if path.is_file() else None

    def get_or_compute(self, inputs: Mapping[str, Any], compute: Callable[[], Mapping[str, Any]]) -> dict[str, Any]:
        """Return the row for ``inputs``, computing and keeping it if it is new.

        Args:
            inputs: Everything the row depends on, JSON-like.
            compute: Makes the row, JSON-like.
        """
        known = self.get(inputs)
        if known is not None:
            return known
        row = dict(compute())
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self._path(inputs)
        partial = path.with_name(f"{path.name}.partial")
        partial.write_text(json.dumps(dict(inputs=inputs, row=row), indent=1))
        os.replace(partial, path)
        return row

    def _path(self, inputs: Mapping[str, Any]) -> Path:
        text = json.dumps(inputs, sort_keys=True, default=dict)
        return self.folder / f"{hashlib.sha256(text.encode()).hexdigest()[:20]}.json"
