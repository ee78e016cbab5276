"""Lazy tables ``name -> "module:attribute"``: listing imports nothing, loading imports one module."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from importlib.metadata import entry_points
from typing import Any

from mema.errors import UserError, nearest


def resolve(reference: str) -> Any:
    """Import ``"module:attribute"`` and return the attribute."""
    module, _, attribute = reference.partition(":")
    return getattr(import_module(module), attribute)


class Registry:
    """What is known by name of one ``kind`` (recogniser, method, …).

    Third parties add names with an entry point in ``group``; a name of ours cannot be overridden.
    """

    def __init__(self, kind: str, table: Mapping[str, str], group: str) -> None:
        self.kind = kind
        self.group = group
        self._table = dict(table)

    def references(self) -> dict[str, str]:
        """Return name -> reference, ours before the entry points'."""
        others = {point.name: point.value for point in entry_points(group=self.group)}
        return {**others, **self._table}

    def names(self) -> list[str]:
        """Return all names in alphabetical order; imports none of them."""
        return sorted(self.references())

    def load(self, name: str) -> Any:
        """Import what ``name`` stands for; an unknown name raises UserError with the nearest one.

        A reference ``"module:attribute"`` stands for itself, so that what is tried out needs no entry point.
        """
        if ":" in name:
            return resolve(name)
        references = self.references()
        if name not in references:
            raise UserError(f"unknown {self.kind} '{name}'{nearest(name, references)}")
        return resolve(references[name])
