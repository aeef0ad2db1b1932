"""``python -m gateway``, and the command ``gateway``."""

from __future__ import annotations

import sys

from gateway import early_signals

SERVING = ("run", "demo")


def main() -> None:
    """Run the command line; what serves does not lose a signal that comes while it is still being loaded."""
    if sys.argv[1:2] and sys.argv[1] in SERVING:
        early_signals.hold()
    # Loading it takes most of the time of a start.
    from gateway.cli import main as commands  # noqa: PLC0415

    commands(prog_name="gateway")


if __name__ == "__main__":
    main()
