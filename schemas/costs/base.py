"""What every cost configuration has in common: frozen, complete, and refusing nonsense."""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Iterator, Mapping
from itertools import pairwise
from typing import Annotated, Any, Self, get_args

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ModelWrapValidatorHandler,
    ValidationError,
    model_validator,
)
from pydantic_core import ErrorDetails

from ..errors import ConfigError
from ..spelling import meant

PicoJoule = Annotated[float, Field(ge=0, allow_inf_nan=False, strict=True)]
"""An energy in pJ: finite and not negative; true and "3" are no numbers."""

Positive = Annotated[float, Field(gt=0, allow_inf_nan=False, strict=True)]
"""A finite number above 0."""

Factor = Annotated[float, Field(ge=0, allow_inf_nan=False, strict=True)]
"""A finite number from 0: how often something happens, or a size."""

Count = Annotated[int, Field(ge=1, le=2**40, strict=True)]
"""A whole number from 1 to 2^40, beyond which no chip has anything."""

_LONGEST = 60
"""Characters of a refused value that an error repeats."""


class CostPart(BaseModel):
    """A group of constants inside a configuration, e.g. one memory.

    It is built, and its source read for what the fields mean, when that is asked for: each takes
    longer than to estimate a small trace.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True, defer_build=True)

    @classmethod
    def model_json_schema(cls, *args: Any, **options: Any) -> dict[str, Any]:
        """Return the JSON schema, with the docstrings of the fields; see pydantic."""
        # What configurations hold is built before them.
        for part in sorted(_below(CostPart), key=lambda part: issubclass(part, CostConfig)):
            for name, text in _field_docstrings(part):
                part.model_fields[name].description = text
            part.model_rebuild(force=True)
        return super().model_json_schema(*args, **options)


def _below(part: type[CostPart]) -> Iterator[type[CostPart]]:
    """Return the classes below one, in the order of their definition."""
    for each in part.__subclasses__():
        yield each
        yield from _below(each)


def _field_docstrings(part: type[CostPart]) -> Iterator[tuple[str, str]]:
    """Return names and docstrings of the fields of a class, of those that it inherits first."""
    for each in part.__bases__:
        if issubclass(each, CostPart) and each is not CostPart:
            yield from _field_docstrings(each)
    try:
        found = ast.parse(textwrap.dedent(inspect.getsource(part))).body[0]
    except (OSError, TypeError):  # of a class that was typed at a prompt
        return
    for field, text in pairwise(found.body if isinstance(found, ast.ClassDef) else ()):
        match field, text:
            case (
                ast.AnnAssign(target=ast.Name(id=name)),
                ast.Expr(value=ast.Constant(value=str(docstring))),
            ):
                yield name, inspect.cleandoc(docstring)


class CostConfig(CostPart):
    """The constants and options of one estimator; units stand in the field names.

    Raises:
        ConfigError: a field is unknown or its value is not allowed; the message names the
            field, the value and what is allowed.
    """

    @model_validator(mode="wrap")
    @classmethod
    def _refuse(cls, data: Any, handler: ModelWrapValidatorHandler[Self]) -> Self:
        try:
            return handler(data)
        except ValidationError as error:
            raise ConfigError(_sentence(cls, error.errors()[0])) from None


def _sentence(config: type[CostPart], error: ErrorDetails) -> str:
    """Return one line that says which field is wrong, its value, and what is allowed."""
    where = ".".join(str(part) for part in error["loc"])
    if error["type"] == "extra_forbidden":
        known = sorted(_part(config, error["loc"][:-1]).model_fields)
        hint = meant(str(error["loc"][-1]), known)
        return f"{config.__name__} has no field {where}: {hint}known are {', '.join(known)}"
    reason = error["msg"].removeprefix("Value error, ").replace("Input should", "should")
    if not where:
        return f"{config.__name__}: {reason}"
    if error["type"] == "value_error" and isinstance(error["input"], Mapping | list):
        return f"{config.__name__}.{where}: {reason}"  # of the fields together
    if error["type"] == "missing":
        return f"{config.__name__}.{where} is missing"
    value = repr(error["input"])
    if len(value) > _LONGEST:
        value = f"{value[:_LONGEST]}..."
    return f"{config.__name__}.{where} = {value}: {reason}"


def _part(config: type[CostPart], path: tuple[int | str, ...]) -> type[CostPart]:
    """Return the class of the part that `path` leads to, as far as fields name it."""
    for name in path:
        field = config.model_fields.get(str(name))
        kinds = [field.annotation, *get_args(field.annotation)] if field else []
        for kind in kinds:
            if isinstance(kind, type) and issubclass(kind, CostPart):
                config = kind
    return config
