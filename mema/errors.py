"""The one exception for what a user can mend, and how scripts say it."""

from __future__ import annotations

import difflib
import sys
from collections.abc import Callable, Iterable


class UserError(Exception):
    """A mistake in what the user gave: the message is one clear line that names the file, row or key.

    The command line prints it as it is and exits with code 2; a traceback would be a bug.
    """


def nearest(name: str, known: Iterable[str]) -> str:
    """Return a hint such as ``"; did you mean 'plan'?"`` for an unknown name, or the list of what is known."""
    names = sorted(known)
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    return f"; did you mean '{close[0]}'?" if close else f"; known: {', '.join(names)}"


def run_script(main: Callable[[], None]) -> None:
    """Run the ``main`` of a script: a UserError becomes one line on stderr and exit code 2."""
    try:
        main()
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
