"""A ported design as a folder of its own: design.yaml, templates, weights where they are shared."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from m3eda.circuits.numbers import spice_number
from m3eda.circuits.writing import design_text
from m3eda.design.load import FOLDER
from m3eda.design.templates import library_folder
from m3eda.design.types import Design
from m3eda.design.yamlfile import Text
from m3eda.errors import DesignError, Mistake
from m3eda.porting.port import Ported
from m3eda.porting.weights import AGENT, options_of
from m3eda.report.atomic import check_new, make_directory, write_atomic
from m3eda.simulate.files import included_files
from m3eda.simulate.python_netlist import is_python
from m3eda.simulate.templates import template_folders, template_sources

DESIGN = "design.yaml"
WEIGHTS = "ported.npz"
STRATEGIES = ("baseline", "start", "weights")
"""Nothing is shared; starting points; these and the weights of the agent `trust-region`."""
DIGITS = 12

Files = dict[str, bytes]
"""Path within the new folder -> content; design.yaml comes last."""


def files_of(ported: Ported, strategy: str, weights: bytes = b"") -> Files:
    """What the folder of `ported` holds. Raises DesignError where a template cannot be read."""
    data = ported.carried.data
    files: Files = {}
    _templates(ported.old.design, data, files)
    if strategy == "weights":
        files[WEIGHTS] = weights
        data["agent"] = _agent(ported.old.design, data.get("agent"))
    else:
        _without_weights(data.get("agent"))
    if strategy != "baseline" and ported.starts:
        _starts(ported, data)
    head = [
        f"{ported.old.design.name} in {ported.move.new.name}, ported from {ported.move.old.name} "
        f"by `m3eda port` (strategy {strategy}).",
        "Sizes at which each transistor keeps its current and its gm/Id come first; every range "
        "is yours to change.",
    ]
    files[DESIGN] = design_text(_ordered(data), head[: 1 if strategy == "baseline" else 2]).encode()
    return files


def _ordered(data: Mapping[str, Any]) -> dict[str, Any]:
    """The words in their order, `starts` behind the specs' last companion."""
    found = {key: each for key, each in data.items() if key != "starts"}
    return {**found, **({"starts": data["starts"]} if "starts" in data else {})}


def _agent(design: Design, written: Any) -> dict[str, Any]:
    """The entry of the agent, with weights to begin with."""
    given = dict(written) if isinstance(written, dict) else {}
    kept = {key: each for key, each in given.items() if key not in ("name", "options")}
    options = {**options_of(design), "weights": WEIGHTS}
    return {"name": AGENT, **kept, "options": options}


def _without_weights(agent: Any) -> None:
    """Take away what an earlier port has given the agent to begin with."""
    options = agent.get("options") if isinstance(agent, dict) else None
    if isinstance(options, dict):
        options.pop("weights", None)


def _starts(ported: Ported, data: dict[str, Any]) -> None:
    """The best start at each parameter, and all of them as `starts`."""
    for name, value in ported.starts[0].items():
        data["parameters"][name]["start"] = _written(value)
    data["starts"] = [
        {name: _written(value) for name, value in start.items()} for start in ported.starts
    ]


def _written(value: float | str) -> Text:
    return Text(value if isinstance(value, str) else spice_number(value, DIGITS))


def _templates(design: Design, data: dict[str, Any], files: Files) -> None:
    """Templates beside the design are copied; those of the library are found by their names, and
    others by their absolute paths."""
    if design.netlist is not None:
        data["netlist"] = _copied(design, str(data["netlist"]), design.netlist, files)
    for name, testbench in design.testbenches.items():
        entry = data["testbenches"][name]
        written = str(entry["template"] if isinstance(entry, dict) else entry)
        place = _copied(design, written, testbench.template, files)
        if isinstance(entry, dict):
            entry["template"] = place
        else:
            data["testbenches"][name] = place
    if design.plugins:
        data["plugins"] = [_copied(design, str(path), path, files) for path in design.plugins]
    simulator = data.get("simulator")
    options: Any = simulator.get("options") if isinstance(simulator, dict) else None
    for key, value in dict(options or {}).items():
        if isinstance(value, str) and FOLDER in value:
            options[key] = Text(value.replace(FOLDER, str(design.path.parent)))


def _copied(design: Design, written: str, path: Path, files: Files) -> Text:
    """`path`, and what it includes, among `files`; gives how the new design names it."""
    home, library = design.path.parent.resolve(), library_folder()
    real = path.resolve()
    if library is not None and real.is_relative_to(library.resolve()):
        return Text(written)
    if not real.is_relative_to(home):
        return Text(real)
    for each in _with_includes(design, real):
        each = each.resolve()
        if each.is_relative_to(home):
            files.setdefault(each.relative_to(home).as_posix(), _content(each))
    return Text(real.relative_to(home).as_posix())


def _with_includes(design: Design, path: Path) -> list[Path]:
    if is_python(path):
        return [path]
    parsed = template_sources(path, template_folders(path, design.path))
    # what a netlist includes by itself is no template, and is copied as it stands
    return [*parsed, *(file for each in parsed for file in included_files(each))]


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise DesignError([Mistake(f"cannot be read: {error.strerror}", path)]) from error


def check_free(folder: Path) -> None:
    """Raise DesignError where `folder` has a design already."""
    _check_new(folder, [DESIGN])


def write_files(folder: Path, files: Files, *, force: bool) -> list[Path]:
    """Write `files` into `folder`, design.yaml last: a folder with one is whole.

    Without `force` nothing is overwritten but what an interrupted call has left, which is the same.
    Raises DesignError with nothing written, StorageError.
    """
    if not force:
        strange = [name for name, content in files.items() if _differs(folder / name, content)]
        _check_new(folder, [DESIGN, *strange])
    elif folder.exists() and not folder.is_dir():
        check_new(folder, [])
    make_directory(folder)
    for name, content in files.items():
        make_directory((folder / name).parent)
        write_atomic(folder / name, content)
    return [folder / name for name in files]


def _check_new(folder: Path, names: Iterable[str]) -> None:
    try:
        check_new(folder, names)
    except DesignError as error:
        hint = "choose another folder by -o, or --force"
        there = [replace(each, hint=hint) if each.hint else each for each in error.mistakes]
        raise DesignError(there) from error


def _differs(path: Path, content: bytes) -> bool:
    return path.exists() and (not path.is_file() or path.read_bytes() != content)


def folder_for(design: Design, technology: str) -> Path:
    """Where a port goes unless the user names a place: beside the folder of the design."""
    return design.path.resolve().parent.parent / f"{design.name}_{technology}"
