"""A click group over a table of commands, whose modules are imported when one of them is used."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click


class LazyGroup(click.Group):
    """A group over ``table``: name -> (reference as ``mema.registry.resolve`` takes it, what --help says)."""

    def __init__(self, *arguments: Any, table: Mapping[str, tuple[str, str]], **settings: Any) -> None:
        super().__init__(*arguments, **settings)
        self.table = table

    def list_commands(self, context: click.Context) -> list[str]:
        """Return the names in the order of the table."""
        return list(self.table)

    def get_command(self, context: click.Context, name: str) -> click.Command | None:
        """Import the command called ``name``; None when there is none."""
        from mema.registry import resolve

        return resolve(self.table[name][0]) if name in self.table else None

    def resolve_command(
        self, context: click.Context, arguments: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Suggest the nearest command for an unknown one."""
        from mema.errors import nearest

        if arguments and arguments[0] not in self.table and not arguments[0].startswith("-"):
            raise click.UsageError(f"unknown command '{arguments[0]}'{nearest(arguments[0], self.table)}")
        return super().resolve_command(context, arguments)

    def format_commands(self, context: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands from the table alone."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in self.table.items()])
