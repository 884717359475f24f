"""Open named entity recognition for spaCy, distilled from large language models."""

__version__ = "0.1.0"
