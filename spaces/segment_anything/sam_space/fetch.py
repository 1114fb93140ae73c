"""Downloads a checkpoint into the cache of the Hub, in a process of its own: that can be ended at any moment.

It is run by its path, and imports nothing of the package.
"""

from __future__ import annotations

import json
import sys
from typing import Any


def main(repository: str, revision: str, *patterns: str) -> int:
    """Download, and write one line of JSON: the folder, or what went wrong."""
    from huggingface_hub import snapshot_download

    try:
        folder = snapshot_download(
            repository, revision=revision, allow_patterns=list(patterns), ignore_patterns=["*/*"]
        )
    except Exception as error:  # told to the process that waits for this one
        sys.stdout.write(json.dumps(told(error)) + "\n")
        return 1
    sys.stdout.write(json.dumps({"folder": folder}) + "\n")
    return 0


def told(error: BaseException) -> dict[str, Any]:
    """Describe an error in plain values: its kinds, and the HTTP status and the number that it came of, if any."""
    chain = [error]
    while chain[-1].__cause__ is not None:
        chain.append(chain[-1].__cause__)
    statuses = [getattr(getattr(each, "response", None), "status_code", None) for each in chain]
    return {
        "kinds": [kind.__name__ for each in chain for kind in type(each).__mro__],
        "status": next((status for status in statuses if status is not None), None),
        "errno": next((each.errno for each in chain if isinstance(each, OSError) and each.errno), None),
    }


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
