"""Configuration: a pydantic model beside each component, filled from YAML; unknown keys name the nearest one."""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from mema.errors import UserError, nearest


class Config(BaseModel):
    """Base of every component's settings: frozen, unknown keys forbidden."""

    model_config = ConfigDict(frozen=True, extra="forbid")


Model = TypeVar("Model", bound=BaseModel)


def read_yaml(path: Path | str) -> dict[str, Any]:
    """Read a YAML mapping; UserError names the file and the line that is wrong."""
    path = Path(path)
    try:
        value = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{path}: no such file") from None
    except UnicodeDecodeError:
        raise UserError(f"{path}: not UTF-8 text") from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f" line {mark.line + 1}:" if mark else ""
        raise UserError(f"{path}:{line} {getattr(error, 'problem', None) or 'not YAML'}") from None
    if not isinstance(value, dict):
        raise UserError(f"{path}: expected a mapping of keys to values")
    return value


def validate(model: type[Model], values: Any, where: str) -> Model:
    """Return ``model`` filled with ``values``; UserError says ``where`` and which key is unknown or wrong."""
    try:
        return model.model_validate(values)
    except ValidationError as error:
        problems = error.errors()
        # A misspelt key also shows as a missing one; the misspelling is what the user can mend.
        first = next((p for p in problems if p["type"] == "extra_forbidden"), problems[0])
        location = ".".join(map(str, first["loc"]))
        if first["type"] == "extra_forbidden":
            owner = _model_at(model, first["loc"][:-1])
            hint = nearest(str(first["loc"][-1]), owner.model_fields) if owner else ""
            raise UserError(f"{where}: unknown key '{location}'{hint}") from None
        # What is wrong with several keys at once has no location.
        parts = [where, location, first["msg"].removeprefix("Value error, ")]
        raise UserError(": ".join(part for part in parts if part)) from None


def _model_at(model: type[BaseModel], location: tuple[int | str, ...]) -> type[BaseModel] | None:
    for key in location:
        field = model.model_fields.get(str(key))
        if field is None or not (isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel)):
            return None
        model = field.annotation
    return model
