"""`python -m kerastl` is the command `kerastl`."""

from kerastl.cli import main

if __name__ == "__main__":
    raise SystemExit(main())
