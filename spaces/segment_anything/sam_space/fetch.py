"""Downloads a checkpoint into the cache of the Hub, in a process of its own: that can be ended at any moment.

It is run by its path, and imports nothing of the package.
"""

from __future__ import annotations

import json
import sys


def main(repository: str, revision: str, *patterns: str) -> int:
    """Download, and write one line of JSON: the folder, or what went wrong."""
    from huggingface_hub import errors, snapshot_download

    try:
        folder = snapshot_download(
            repository, revision=revision, allow_patterns=list(patterns), ignore_patterns=["*/*"]
        )
    except Exception as error:  # told to the process that waits for this one
        status = getattr(getattr(error, "response", None), "status_code", None)
        kind = next((name for name in KINDS if isinstance(error, getattr(errors, name))), type(error).__name__)
        told = {"error": kind, "status": status, "errno": getattr(error, "errno", None), "said": str(error)[:300]}
        sys.stdout.write(json.dumps(told) + "\n")
        return 1
    sys.stdout.write(json.dumps({"folder": folder}) + "\n")
    return 0


KINDS = ("GatedRepoError", "RepositoryNotFoundError", "RevisionNotFoundError", "LocalEntryNotFoundError")
"""Names of errors of huggingface_hub that mean something to a visitor, the narrowest first."""

if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
