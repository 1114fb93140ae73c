"""Errors of `sam_label_studio`.

SamError
└── LabelStudioError
    ├── ConfigError (ValueError)
    ├── CodecError (ValueError)
    └── FetchError
        └── AccessError
"""

from sam_core import SamError


class LabelStudioError(SamError):
    """Base of every error that this package raises on purpose."""


class ConfigError(LabelStudioError, ValueError):
    """A labelling config, or a setting, that nothing can be done with."""


class CodecError(LabelStudioError, ValueError):
    """JSON of Label Studio that is not what it claims to be."""


class FetchError(LabelStudioError):
    """An image that could not, or may not, be fetched."""


class AccessError(FetchError):
    """Label Studio does not accept the key."""
