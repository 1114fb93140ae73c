"""Errors of `sam_core`.

SamError
├── ImageError (ValueError)
├── PromptError (ValueError)
├── CheckpointError
└── EmbeddingError
"""


class SamError(Exception):
    """Base of every error that `sam_core` raises on purpose."""


class ImageError(SamError, ValueError):
    """An image, or a file of one, that cannot be used."""


class PromptError(SamError, ValueError):
    """A prompt that makes no sense, or none for this plane."""


class CheckpointError(SamError):
    """A model that cannot be found, read or trusted."""


class EmbeddingError(SamError):
    """An embedding that this model did not make."""
