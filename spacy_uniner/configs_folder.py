"""Where the configs are: beside the package in a clone, inside of it in a wheel."""

from __future__ import annotations

from pathlib import Path


def find_configs() -> Path:
    """Give the folder with configs, dataset specifications, paraphrases and published numbers.

    RAISES: FileNotFoundError if neither place has it.
    """
    package = Path(__file__).parent
    for folder in (package / "configs", package.parent / "configs"):
        if (folder / "datasets").is_dir():
            return folder
    raise FileNotFoundError(f"No configs in {package} or beside it. Install the package again.")
