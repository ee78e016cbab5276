"""The table of methods in ``docs/methods.md``, made from the registry and ``configs/methods``.

``python -m baselines.table`` prints it; a test compares the two.
"""

from __future__ import annotations

from pathlib import Path

from baselines.registry import METHODS, load_method_config
from mema.config import validate
from mema.errors import run_script

CONFIGS = Path(__file__).parents[1] / "configs" / "methods"
HEADER = ("| name | class | prior | key | what it does |", "|---|---|---|---|---|")


def table(folder: Path = CONFIGS) -> list[str]:
    """Return the lines of the table, a row for each YAML in ``folder``, in alphabetical order.

    No method is made, so weights may be missing. What a method does is the first sentence of its YAML's first comment.
    """
    return [*HEADER, *(_row(path) for path in sorted(folder.glob("*.yaml")))]


def _row(path: Path) -> str:
    config = load_method_config(path)
    method = METHODS.load(config.method)
    parameters = validate(method.parameters_model, config.parameters, str(path))
    # A program's are in its YAML, not in the class that runs it.
    prior = getattr(parameters, "prior", None) or method.prior
    reversible = getattr(parameters, "recover", None) is not None or getattr(method, "reversible", False)
    comment = path.read_text(encoding="utf-8").splitlines()[0].removeprefix("#").strip()
    does = comment.split(". ")[0].rstrip(".") + "."
    return f"| `{path.stem}` | `{config.method}` | {prior} | {'yes' if reversible else ''} | {does} |"


def main() -> None:
    """Print the table."""
    print("\n".join(table()))


if __name__ == "__main__":
    run_script(main)
