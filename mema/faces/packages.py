"""What is said when a package that reads faces is absent."""

from __future__ import annotations

from mema.errors import UserError


def not_importable(package: str, error: ImportError) -> UserError:
    """Return the UserError for a package of the group ``attributes``."""
    return UserError(f"{package} cannot be imported ({error}): pip install 'openmema[attributes]'")
