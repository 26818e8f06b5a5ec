"""Netlists written in Python: a file whose function `circuit` gives a PySpice circuit, or text.

PySpice builds the circuit and nothing else: its text goes through the same door as that of a
template, and the designer's own simulator runs it. It is imported only where the file does.
"""

from __future__ import annotations

import ast
import contextlib
import logging
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from decimal import Decimal
from importlib import import_module
from pathlib import Path
from traceback import extract_tb
from types import ModuleType
from typing import Any

from m3eda.design.templates import EVERYTHING
from m3eda.errors import DesignError, Mistake

FUNCTION = "circuit"
"""What the file must define; its arguments are the names that the netlist needs."""

PYSPICE = "PySpice"

_RUNNING = threading.RLock()
"""Held while a designer's code runs: it may build on globals, and PySpice is changed meanwhile."""


def is_python(template: Path) -> bool:
    return template.suffix == ".py"


def python_names(file: Path) -> set[str]:
    """The names that `circuit` in `file` needs, told from its arguments without running anything.

    Holds `EVERYTHING` where it takes `**values`. Raises DesignError where the file cannot be read
    or has no such function.
    """
    function = _definition(file)
    arguments = function.args
    if arguments.vararg is not None or arguments.posonlyargs:
        text = f"{FUNCTION} is given its values by name"
        hint = f"write def {FUNCTION}(w_in, cc), or def {FUNCTION}(**values)"
        raise DesignError([Mistake(text, file, function.lineno, hint=hint)])
    names = {argument.arg for argument in [*arguments.args, *arguments.kwonlyargs]}
    return names | {EVERYTHING} if arguments.kwarg is not None else names


def python_sources(file: Path) -> tuple[Path, ...]:
    """`file`, and at any depth the modules it imports that lie beside it.

    Raises DesignError for a file that is not Python.
    """
    found: dict[Path, None] = {}
    waiting = [file]
    while waiting:
        path = waiting.pop()
        if path not in found:
            found[path] = None
            waiting += [
                module for name in _imported(path) for module in _modules(file.parent / name)
            ]
    return tuple(found)


class PythonNetlist:
    """One file, loaded when it is first rendered. Safe to use from several threads."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self.sources = python_sources(file)
        self._line = _definition(file).lineno
        self._everything = EVERYTHING in python_names(file)
        self._names = python_names(file)
        self._function: Callable[..., Any] | None = None
        self._beside: dict[str, ModuleType] = {}

    def render(self, values: Mapping[str, Any]) -> str:
        """The text of the circuit at `values`. Raises DesignError at the line at fault."""
        given = values if self._everything else {name: values[name] for name in self._names}
        with _RUNNING, self._importing():
            try:
                if self._function is None:
                    self._function = self._loaded()
                with plain_numbers():
                    result = self._function(**given)
                    text = result if isinstance(result, str) else _circuit_text(result)
            except DesignError:
                raise
            except (Exception, SystemExit) as error:  # the designer's code may raise anything
                raise DesignError([self._mistake(error)]) from error
        if text is None:
            kind = "None" if result is None else f"a {type(result).__name__}"
            hint = "return a PySpice Circuit or SubCircuit, or its text; analyses in raw_spice"
            text = f"{FUNCTION}() gave {kind}"
            raise DesignError([Mistake(text, self.file, self._line, hint=hint)])
        return text if text.endswith("\n") else f"{text}\n"

    def _loaded(self) -> Callable[..., Any]:
        module = ModuleType(f"m3eda_netlist_{self.file.stem}")
        module.__file__ = str(self.file)
        # not by an importer: its cache takes a file changed twice in a second for the older one
        exec(compile(self.file.read_bytes(), str(self.file), "exec"), module.__dict__)
        if any(PYSPICE in _imported(source) for source in self.sources):
            # the function may import it when it is called, too late for `plain_numbers`
            with contextlib.suppress(ImportError):
                import_module(f"{PYSPICE}.Spice.Netlist")
            # else Python prints, at every point, each remark that PySpice logs
            logging.getLogger(PYSPICE).addHandler(logging.NullHandler())
        function: Callable[..., Any] = module.__dict__[FUNCTION]
        return function

    @contextlib.contextmanager
    def _importing(self) -> Iterator[None]:
        """Modules beside the file can be imported, and are kept apart from all others."""
        folder = str(self.file.parent)
        known, writes = _taken_out(self.sources), sys.dont_write_bytecode
        sys.modules.update(self._beside)
        sys.path.insert(0, folder)
        sys.dont_write_bytecode = True
        try:
            yield
        finally:
            sys.dont_write_bytecode = writes
            sys.path.remove(folder)
            self._beside = _taken_out(self.sources)
            sys.modules.update(known)

    def _mistake(self, error: BaseException) -> Mistake:
        """What went wrong, at the last line of the designer's own code on the way there."""
        own = {str(source) for source in self.sources}
        frames = [frame for frame in extract_tb(error.__traceback__) if frame.filename in own]
        file = Path(frames[-1].filename) if frames else self.file
        line = frames[-1].lineno if frames else self._line
        if isinstance(error, ModuleNotFoundError) and str(error.name).split(".")[0] == PYSPICE:
            hint = "pip install 'm3eda[pyspice]'"
            return Mistake("needs PySpice, which is not installed", file, line, hint=hint)
        did = "does not load" if self._function is None else f"{FUNCTION}() raised"
        text = " ".join(str(error).split())
        kind = type(error).__name__
        return Mistake(f"{did}: {kind}: {text}" if text else f"{did}: {kind}", file, line)


@contextlib.contextmanager
def plain_numbers() -> Iterator[None]:
    """Within, a PySpice value is written as a bare number in SI units.

    PySpice writes units behind numbers: SPICE reads `1e-6@u_m` (a metre) as 1e-9, and
    `circuit.parameter` writes `10 kOhm`, of which SPICE reads 10.
    """
    values = getattr(sys.modules.get(f"{PYSPICE}.Unit.Unit"), "UnitValue", None)
    if values is None:
        yield
        return
    written = values.str
    values.str = lambda self, *_, **__: _in_si(self)
    try:
        yield
    finally:
        values.str = written


def _in_si(value: Any) -> str:
    """A PySpice value in SI units, correctly rounded: `90@u_nm` times 1e-9 is not 9e-08."""
    return repr(float(Decimal(repr(float(value.value))).scaleb(value.power.power)))


def _circuit_text(result: Any) -> str | None:
    """The text of a PySpice circuit or subcircuit; None for anything else."""
    module = sys.modules.get(f"{PYSPICE}.Spice.Netlist")
    if module is None or not isinstance(result, module.Netlist):
        return None
    if not isinstance(result, module.Circuit):
        return str(result)
    # PySpice takes paths from the working directory, and does not quote them
    includes, libraries = result._includes, result._libs
    result._includes, result._libs = [], []
    try:
        lines = [line for line in str(result).splitlines() if line.strip().lower() != ".end"]
    finally:
        result._includes, result._libs = includes, libraries
    cards = [f'.include "{path}"' for path in includes]
    cards += [f'.lib "{path}" {_section(path, section)}' for path, section in libraries]
    return "\n".join([*lines[:1], *cards, *lines[1:], ".end", ""])


def _section(path: object, section: str | None) -> str:
    if not section:
        raise ValueError(f"lib('{path}') names no section; circuit.include takes the whole file")
    return section


def _definition(file: Path) -> ast.FunctionDef:
    """The definition of `circuit` at the top level of `file`; of several the last."""
    found = [
        node
        for node in _parsed(file).body
        if isinstance(node, ast.FunctionDef) and node.name == FUNCTION
    ]
    if not found:
        hint = f"write def {FUNCTION}(...), its arguments being parameters and conditions"
        raise DesignError([Mistake(f"defines no function '{FUNCTION}'", file, hint=hint)])
    return found[-1]


def _parsed(file: Path) -> ast.Module:
    try:
        return ast.parse(file.read_bytes(), str(file))
    except SyntaxError as error:
        text = f"is not Python: {error.msg}"
        raise DesignError([Mistake(text, file, error.lineno, error.offset)]) from error
    except (OSError, ValueError) as error:
        raise DesignError([Mistake(f"cannot be read: {error}", file)]) from error


def _imported(file: Path) -> set[str]:
    """The first names of all modules that `file` imports, wherever in it."""
    names: set[str] = set()
    for node in ast.walk(_parsed(file)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names.add(node.module)
    return {name.partition(".")[0] for name in names}


def _modules(path: Path) -> list[Path]:
    """The files of the module, or of the package, that `path` names without a suffix."""
    single = path.with_name(f"{path.name}.py")
    if (path / "__init__.py").is_file():
        return sorted(path.rglob("*.py"))
    return [single] if single.is_file() else []


def _taken_out(sources: tuple[Path, ...]) -> dict[str, ModuleType]:
    """The modules of `sources` but the first, taken out of Python's table of modules."""
    tops = {path.relative_to(sources[0].parent).parts[0].removesuffix(".py")
            for path in sources[1:]}  # fmt: skip
    names = [name for name in sys.modules if name.partition(".")[0] in tops] if tops else []
    return {name: sys.modules.pop(name) for name in names}
