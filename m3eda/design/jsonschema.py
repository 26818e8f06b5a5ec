"""JSON Schema of the design file, so that editors complete and check it."""

from __future__ import annotations

from typing import Any

from m3eda.design.schema import REQUIRED, SHORTHANDS, DesignFile

DIALECT = "https://json-schema.org/draft/2020-12/schema"


def json_schema() -> dict[str, Any]:
    """The design file in JSON Schema, draft 2020-12; every key has its description."""
    schema = _tidied(DesignFile.model_json_schema(by_alias=True))
    definitions = schema["$defs"]
    for name, key in SHORTHANDS.items():
        bare = {"type": "string", "description": f"Its {key} alone."}
        definitions[name] = {"anyOf": [definitions[name], bare]}
    definitions["CornersEntry"] = _corners(definitions["CornersEntry"])
    return {
        "$schema": DIALECT,
        **schema,
        "title": "m3eda design file",
        "anyOf": [{"required": list(REQUIRED)}, {"required": ["extends"]}],
        "patternProperties": {"^x-": {"description": "Free: anchors to be used elsewhere."}},
    }


def _corners(schema: dict[str, Any]) -> dict[str, Any]:
    """The file's spelling of corners: a list, or a grid with `named` beside its axes."""
    grid, named = schema["properties"]["grid"], schema["properties"]["named"]
    table = {**grid, "properties": {"named": named}}
    return {"description": schema["description"], "anyOf": [table, named]}


def _tidied(schema: Any) -> Any:
    """Without pydantic's titles and nulls, which say nothing to a designer."""
    if isinstance(schema, list):
        return [_tidied(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    tidy = {
        _KEYWORDS.get(key, key): _tidied(value)
        for key, value in schema.items()
        if not (key == "title" and isinstance(value, str))
        and not (key == "default" and (value in (None, "") or isinstance(value, (list, dict))))
    }
    if "patternProperties" in tidy:
        tidy["additionalProperties"] = False
    choices = tidy.get("anyOf")
    if isinstance(choices, list) and {"type": "null"} in choices:
        rest = [choice for choice in choices if choice != {"type": "null"}]
        del tidy["anyOf"]
        tidy = {**rest[0], **tidy} if len(rest) == 1 else {"anyOf": rest, **tidy}
    return tidy


_KEYWORDS = {"gt": "exclusiveMinimum", "lt": "exclusiveMaximum"}
