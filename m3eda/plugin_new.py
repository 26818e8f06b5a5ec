"""What `m3eda plugins new` does: writes the skeleton of a plugin that works as it is."""

from __future__ import annotations

import importlib.util
import keyword
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import jinja2

from m3eda.design.compiled import CONSTANTS, MATH_FUNCTIONS
from m3eda.errors import ExitCode, PluginError
from m3eda.plugins import WORDS, Plugins

SCAFFOLD = Path(__file__).parent / "scaffold"
"""Templates of skeletons, a folder a kind; NAME in a path stands for the plugin's."""
SUMMARIES = {
    "simulator": "A simulator for m3eda that starts a program for every deck, here `ngspice -b`",
    "agent": "An agent for m3eda: random search, then local search",
    "measure": "A measure for m3eda: the crest factor of a waveform",
    "technology": "A technology for m3eda: level 1 transistors in five corners",
}
"""What each kind of skeleton is."""
KINDS = tuple(SUMMARIES)


def new_command(kind: str, name: str, folder: Path, out: IO[str]) -> ExitCode:
    """Write the skeleton into `folder`/`name`, and say what to do next.

    Raises PluginError where the name cannot be used or the folder is there already.
    """
    target = folder / name
    _check_name(kind, name)
    if target.exists():
        raise PluginError(f"{target} is there already; nothing was written")
    written = {target / path: text for path, text in skeleton(kind, name)}
    for path, text in written.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    out.write(f"wrote {', '.join(sorted(str(path) for path in written))}\n")
    out.write(
        f"next:\n  cd {target}\n  pytest\n  m3eda plugins check {plugin_file(kind, name)}\n"
        "  m3eda size design.yaml\n"
    )
    return ExitCode.SPECS_MET


def plugin_file(kind: str, name: str) -> str:
    """The file that a design names, from the skeleton's folder."""
    return f"{name}/__init__.py" if kind == "technology" else f"{name}.py"


def skeleton(kind: str, name: str) -> Iterator[tuple[str, str]]:
    """The files of a skeleton: path within its folder, and text."""
    environment = jinja2.Environment(
        # testbenches and Python have braces of their own
        variable_start_string="<<", variable_end_string=">>",
        block_start_string="<%", block_end_string="%>",
        comment_start_string="<#", comment_end_string="#>",
        undefined=jinja2.StrictUndefined, keep_trailing_newline=True, autoescape=False,
    )  # fmt: skip
    words = {
        "kind": kind,
        "name": name,
        "class_name": "".join(part.capitalize() for part in name.split("_")),
        "summary": SUMMARIES[kind],
        "file": plugin_file(kind, name),
    }
    for folder in (SCAFFOLD / "common", SCAFFOLD / kind):
        for file in sorted(folder.rglob("*.j2")):
            path = file.relative_to(folder).as_posix().removesuffix(".j2")
            text = environment.from_string(file.read_text(encoding="utf-8")).render(words)
            yield path.replace("NAME", name), text


def _check_name(kind: str, name: str) -> None:
    """Raises PluginError where no module, or nothing registered, can be called `name`."""
    usable = name.isidentifier() and name.isascii() and not name.startswith("_")
    if not usable or keyword.iskeyword(name):
        hint = "expected letters, digits and underscores, such as my_plugin"
        raise PluginError(f"'{name}' cannot be the name of a Python module ({hint})")
    if kind == "measure" and name in {*MATH_FUNCTIONS, *CONSTANTS}:
        raise PluginError(f"'{name}' has a meaning in every expression; choose another name")
    hook = next(hook for hook, word in WORDS.items() if word == kind)
    table = Plugins(silent=True).table(hook)
    if name in table:
        owner = table.owners[name]
        raise PluginError(f"the {kind} '{name}' is there already, from plugin {owner}")
    spec = importlib.util.find_spec(name)
    if spec is not None and spec.origin is not None:
        raise PluginError(f"there is a module '{name}' already ({spec.origin}); choose another")
