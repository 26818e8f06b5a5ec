"""Kinds of values in the design file: how each is read, and what a schema says of it."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, PlainValidator, StringConstraints, WithJsonSchema

from m3eda.design import scalars

NUMERIC: dict[str, Any] = {"type": ["number", "string"]}
NAME_PATTERN = r"^[A-Za-z][A-Za-z0-9_]*$"

Name = Annotated[str, StringConstraints(pattern=NAME_PATTERN), BeforeValidator(scalars.word)]
Word = Annotated[str, BeforeValidator(scalars.word)]
Unit = Annotated[str, BeforeValidator(scalars.unit)]
Boolean = Annotated[bool, BeforeValidator(scalars.boolean)]
Whole = Annotated[int, BeforeValidator(scalars.integer)]
Version = Annotated[Literal[1], BeforeValidator(scalars.integer)]
Real = Annotated[float, BeforeValidator(scalars.real), WithJsonSchema(NUMERIC)]
Positive = Annotated[Real, Field(gt=0)]
Share = Annotated[Real, Field(gt=0, lt=1)]
Number = Annotated[scalars.Number, PlainValidator(scalars.number), WithJsonSchema(NUMERIC)]
Scalar = Annotated[
    scalars.Number | str, PlainValidator(scalars.number_or_word), WithJsonSchema(NUMERIC)
]
Condition = Annotated[
    scalars.Number | str | list[scalars.Number],
    PlainValidator(scalars.condition),
    WithJsonSchema({"type": ["number", "string", "array"], "items": NUMERIC}),
]
Natural = Annotated[Any, BeforeValidator(scalars.natural)]
Words = Annotated[
    list[Word],
    BeforeValidator(lambda value: [value] if isinstance(value, str) else value),
    WithJsonSchema({"type": ["string", "array"], "items": {"type": "string"}}),
]
Includes = Annotated[
    dict[str, Words],
    BeforeValidator(lambda value: {"": value} if isinstance(value, (str, list)) else value),
    WithJsonSchema({"type": ["string", "array", "object"]}),
]
