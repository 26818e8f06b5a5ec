"""The JSON Schema of the design file."""

from __future__ import annotations

import json

import pytest

from m3eda.design import json_schema
from m3eda.design.jsonschema import DIALECT


@pytest.fixture(scope="module")
def schema():
    return json_schema()


def properties(schema):
    """(path, schema) of every key of the design file."""
    for where, each in [("", schema), *schema["$defs"].items()]:
        for part in [each, *each.get("anyOf", [])]:
            for key, value in part.get("properties", {}).items():
                yield f"{where}.{key}", value


def test_it_is_plain_json_of_the_dialect_it_names(schema):
    assert json.loads(json.dumps(schema)) == schema
    assert schema["$schema"] == DIALECT


def test_every_key_is_described(schema):
    found = dict(properties(schema))
    assert len(found) > 60
    assert [path for path, value in found.items() if not value.get("description")] == []


def test_every_top_key_of_the_sample_is_known(schema):
    known = set(schema["properties"])
    assert {"m3eda", "design", "extends", "testbenches", "parameters", "specs", "plugins"} <= known


def test_unknown_keys_are_refused(schema):
    assert schema["additionalProperties"] is False
    assert schema["$defs"]["ParameterEntry"]["additionalProperties"] is False


def test_numbers_may_be_written_with_suffixes(schema):
    assert schema["$defs"]["ParameterEntry"]["properties"]["min"]["type"] == ["number", "string"]


@pytest.mark.parametrize("name", ["TestbenchEntry", "AgentEntry", "TechnologyEntry"])
def test_a_bare_word_stands_for_a_mapping(schema, name):
    assert {"type": "string"}.items() <= schema["$defs"][name]["anyOf"][1].items()


def test_every_reference_leads_somewhere(schema):
    text = json.dumps(schema)
    referred = {part.split('"')[0] for part in text.split("#/$defs/")[1:]}
    assert referred == set(schema["$defs"]) & referred
    assert "ParameterEntry" in referred
