"""`python -m sam_core` is `sam-core`."""

from sam_core.cli import main

if __name__ == "__main__":
    main()
