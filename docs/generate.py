"""Writes the generated parts of the documentation from the program itself.

A part stands between `<!-- generated: NAME -->` and `<!-- end of NAME -->`. With `--check` nothing
is written: the files that are stale are named, and the exit code is 1.
"""

from __future__ import annotations

import argparse
import ast
import inspect
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from itertools import groupby, pairwise
from pathlib import Path
from typing import Any

import click

from m3eda import hookspecs
from m3eda.agents.trust_region import Recipe
from m3eda.circuits.opening import catalogue
from m3eda.circuits.schema import CircuitFile, PaperEntry, TargetsEntry
from m3eda.cli import cli
from m3eda.design import json_schema
from m3eda.policy.settings import TrainFile
from m3eda.report.library import circuit_json

FOLDER = Path(__file__).resolve().parent
_PART = re.compile(r"(<!-- generated: ([\w-]+) -->\n).*?(<!-- end of \2 -->)", re.DOTALL)

Schema = Mapping[str, Any]


def entries(schema: Schema) -> Iterator[tuple[str, Schema]]:
    """The mappings of the design file in the order of the file: dotted path and JSON Schema."""
    definitions = schema.get("$defs", {})

    def walk(path: str, node: Schema) -> Iterator[tuple[str, Schema]]:
        yield path, node
        for key, value in node["properties"].items():
            below = f"{path}.{key}" if path else key
            named = [value.get("additionalProperties"), *_values(value, "patternProperties")]
            steps = [("", value), *((".<name>", inner) for inner in named)]
            for step, inner in [*steps, ("[]", value.get("items"))]:
                if found := _mapping(inner, definitions):
                    yield from walk(f"{below}{step}", found)

    yield from walk("", schema)


def _values(node: Schema, key: str) -> list[Any]:
    return list(node.get(key, {}).values())


def _mapping(node: Any, definitions: Schema) -> Schema | None:
    """The schema with `properties` behind `node`: itself, a reference or one of a choice."""
    if not isinstance(node, Mapping):
        return None
    if "properties" in node:
        return node
    if "$ref" in node:
        return _mapping(definitions[node["$ref"].rpartition("/")[2]], definitions)
    choices = (_mapping(choice, definitions) for choice in node.get("anyOf", ()))
    return next((choice for choice in choices if choice), None)


def _kind(node: Schema) -> str:
    """What a value is, in a designer's words."""
    if "enum" in node:
        return " or ".join(f"`{word}`" for word in node["enum"])
    kind = node.get("type")
    words = {"string": "word", "integer": "whole number", "boolean": "true or false"}
    kinds = kind if isinstance(kind, list) else [kind]
    if kinds == ["string", "array"]:
        return "word or list of words"
    if kinds == ["array"]:
        return f"list of {_kind(node['items'])}s" if "type" in node["items"] else "list"
    # a number may be written with a unit or a SPICE suffix, and is then text to YAML
    return "number" if "number" in kinds else words.get(kinds[0] or "", "mapping")


def _default(node: Schema) -> str:
    value = node.get("default")
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    return "" if value is None else f"`{value:g}`" if isinstance(value, float) else f"`{value}`"


def keys() -> str:
    """Every key of the design file, a table for each mapping."""
    blocks = []
    for path, node in entries(json_schema()):
        title = f"`{path}`" if path else "Top level"
        rows = [
            f"| `{key}` | {_kind(value)} | {_default(value)} | {_cell(value)} |"
            for key, value in node["properties"].items()
        ]
        head = "| key | is | default | meaning |\n|---|---|---|---|"
        text = _cell(node) if path else ""
        blocks.append("\n\n".join(filter(None, [f"### {title}", text, "\n".join([head, *rows])])))
    return "\n\n".join(blocks)


def _cell(node: Schema) -> str:
    return str(node.get("description", "")).replace("|", "\\|").replace("<", "&lt;")


def every_command() -> Iterator[tuple[str, click.Command]]:
    """The built-in commands by what is typed, each followed by those below it."""
    for name, command in sorted(cli.commands.items()):
        yield name, command
        for below, inner in sorted(getattr(command, "commands", {}).items()):
            yield f"{name} {below}", inner


def commands() -> str:
    """Every built-in command with its arguments and options."""
    blocks = []
    for name, command in every_command():
        arguments = [p for p in command.params if isinstance(p, click.Argument)]
        options = [p for p in command.params if isinstance(p, click.Option)]
        usage = " ".join(["m3eda", name, *(f"{p.name}".upper() for p in arguments)])
        usage += " [OPTIONS]" if options else ""
        rows = [_option_row(option) for option in options]
        table = "| option | meaning |\n|---|---|\n" + "\n".join(rows) if rows else ""
        help_text = inspect.cleandoc(command.help or "")
        parts = [f"### `m3eda {name}`", help_text, f"    {usage}", table]
        blocks.append("\n\n".join(filter(None, parts)))
    return "\n\n".join(blocks)


def _option_row(option: click.Option) -> str:
    names = ", ".join(f"`{name}`" for name in option.opts)
    if not option.is_flag:
        names += f" {_metavar(option)}"
    shown = f" Default: {option.default}." if option.show_default else ""
    repeated = "" if not option.multiple or "repeat" in (option.help or "") else " May be repeated."
    return f"| {names} | {option.help}{shown}{repeated} |".replace("|  |", "| |")


def _metavar(option: click.Option) -> str:
    if option.metavar:
        return option.metavar
    if isinstance(option.type, click.Choice):
        return " or ".join(f"`{choice}`" for choice in option.type.choices)
    words = {"path": "PATH", "file": "FILE", "integer range": "N", "text": "NAME"}
    return words.get(option.type.name, option.type.name.upper())


def hook(name: str) -> str:
    """The signature of a hook and what is to be done in it."""
    function = getattr(hookspecs, name)
    arguments = [
        f"{p.name}: {str(p.annotation).strip(chr(39))}"
        for p in inspect.signature(function).parameters.values()
    ]
    text = inspect.cleandoc(function.__doc__ or "")
    return f"```python\ndef {name}({', '.join(arguments)}) -> None: ...\n```\n\n{text}"


def hooks() -> str:
    """A table of the hooks, each with its page."""
    rows = [
        f"| [`{name}`](hooks/{name}.md) | {_first_sentence(function)} |"
        for name, function in vars(hookspecs).items()
        if hasattr(function, "m3eda_spec")
    ]
    return "\n".join(["| hook | to do |", "|---|---|", *rows])


def _first_sentence(function: Callable[..., Any]) -> str:
    return " ".join(inspect.cleandoc(function.__doc__ or "").split("\n\n")[0].split())


def trust_region() -> str:
    """The fields of the trust region's recipe, with the text that stands below each."""
    [body] = ast.parse(inspect.getsource(Recipe)).body
    assert isinstance(body, ast.ClassDef)
    rows = ["| option | default | meaning |", "|---|---|---|"]
    for field, after in pairwise(body.body):
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name):
            value = after.value if isinstance(after, ast.Expr) else None
            text = inspect.cleandoc(str(value.value)) if isinstance(value, ast.Constant) else ""
            default = _default({"default": getattr(Recipe, field.target.id)})
            rows.append(f"| `{field.target.id}` | {default} | {' '.join(text.split())} |")
    return "\n".join(rows)


def circuits() -> str:
    """A table of the circuits that come with m3eda."""
    rows = ["| circuit | what it is | parameters | specs | technologies | targets | split |",
            "|---|---|---|---|---|---|---|"]  # fmt: skip
    for group, found in groupby(catalogue().circuits(), key=lambda each: each.file.group):
        rows.append(f"| **{group}** | | | | | | |")
        for circuit in found:
            data = circuit_json(circuit)
            free = sum("min" in each or "choices" in each
                       for each in circuit.file.parameters.values())  # fmt: skip
            numbers = [free, len(circuit.sides), len(circuit.technologies),
                       sum(data["targets"].values())]  # fmt: skip
            cells = [f"`{circuit.name}`", circuit.file.title, *map(str, numbers)]
            rows.append(f"| {' | '.join(cells)} | {circuit.file.split} |")
    return "\n".join(rows)


def circuit_words() -> str:
    """The words that a circuit.yaml has beside those of a design file."""
    rows = ["| word | meaning |", "|---|---|"]
    for prefix, model in (("", CircuitFile), ("targets.", TargetsEntry), ("paper.", PaperEntry)):
        for name, field in model.model_fields.items():
            if field.description and field.description != "As in a design file.":
                rows.append(f"| `{prefix}{name}` | {field.description} |")
    return "\n".join(rows)


def training_words() -> str:
    """The words of a training configuration, with their defaults."""
    rows = ["| word | default | meaning |", "|---|---|---|"]
    for name, field in TrainFile.model_fields.items():
        if field.description:
            rows.append(_training_row(name, field))
            continue
        for inner, entry in field.default.__class__.model_fields.items():
            rows.append(_training_row(f"{name}.{inner}", entry))
    return "\n".join(rows)


def _training_row(name: str, field: Any) -> str:
    default = field.default
    if isinstance(default, (list, tuple)):
        default = f"[{', '.join(map(str, default))}]"
    shown = f"`{default}`" if str(default) else ""
    return f"| `{name}` | {shown} | {field.description} |"


PARTS: Mapping[str, Callable[[], str]] = {
    "keys": keys,
    "commands": commands,
    "hooks": hooks,
    "circuits": circuits,
    "circuit-words": circuit_words,
    "training-words": training_words,
    "trust-region": trust_region,
    **{
        f"hook-{name}": partial(hook, name)
        for name, function in vars(hookspecs).items()
        if hasattr(function, "m3eda_spec")
    },
}


def rewritten(text: str) -> str:
    """`text` with every generated part written anew. Raises KeyError for an unknown part."""
    return _PART.sub(lambda match: f"{match[1]}\n{PARTS[match[2]]()}\n\n{match[3]}", text)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--check", action="store_true", help="write nothing, name what is stale")
    check = parser.parse_args(arguments).check
    stale = []
    for path in sorted(FOLDER.rglob("*.md")):
        old = path.read_text(encoding="utf-8")
        new = rewritten(old)
        if new != old:
            stale.append(path)
            if not check:
                path.write_text(new, encoding="utf-8")
    for path in stale:
        sys.stderr.write(f"{path}: {'stale: run docs/generate.py' if check else 'written'}\n")
    return 1 if check and stale else 0


if __name__ == "__main__":
    sys.exit(main())
