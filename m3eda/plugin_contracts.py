"""Contracts run on what plugins register: which test class is whose, and pytest on it.

A plugin may bring a contract of its own in its attribute `contract`: a class, or a function
`contract(kind, name)` that gives a class or None, so that the plugin loads without pytest.
"""

from __future__ import annotations

import contextlib
import inspect
import io
import itertools
import os
import signal
import sys
import tempfile
import threading
from collections.abc import Callable, Generator, Iterator, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any, Literal

import pytest

from m3eda.design.technology import read_technology
from m3eda.errors import M3edaError, PluginError, cause
from m3eda.plugin_guard import asked
from m3eda.plugins import version_of
from m3eda.simulate.types import WarmSimulator

State = Literal["holds", "fails", "left out"]

_TESTING = "m3eda.testing"
_BASES = {
    "simulator": "simulators:Netlists",
    "agent": "agents:AgentContract",
    "measure": "measures:MeasureContract",
    "technology": "technologies:TechnologyContract",
}
"""What the contract of each kind derives from."""
# imported while pytest runs, which then tells the values in an assertion that fails
_MODULE = "from m3eda.plugin_contracts import chosen\n\nTestContract = chosen()\n"
_PATIENCE = 3
"""Behaviours that may go on for ever; then no more are tried."""
_LATE = "it did not end within"
_LONGEST = 300
"""Characters of a reason."""


@dataclass(frozen=True)
class Thing:
    """What a plugin registered."""

    kind: str
    """simulator, agent, measure or technology."""
    name: str
    made: Any
    """A factory, a function of measures, or the path of a technology.yaml."""
    plugin: str
    contract: Any = None
    """The plugin's own, or how it gives it."""


@dataclass(frozen=True)
class Behaviour:
    """What became of one test of a contract."""

    name: str
    """Such as `gives what run gives [divider-strict]`."""
    state: State
    reason: str = ""
    """Why it fails or was left out, in one line."""
    details: str = ""
    """What pytest tells of a failure."""
    seconds: float = 0.0


@dataclass
class Checked:
    """What became of a contract."""

    thing: Thing
    contract: str = ""
    """Name of its class."""
    version: str = ""
    """Of the simulator."""
    behaviours: list[Behaviour] = field(default_factory=list)

    def having(self, state: State) -> list[Behaviour]:
        return [each for each in self.behaviours if each.state == state]


def check(thing: Thing, options: Mapping[str, Any], limit: float) -> Checked:
    """Run the contract of `thing`, built with `options`, each behaviour within `limit` seconds.

    Raises SimulatorMissing, and PluginError or DesignError where it cannot be built.
    """
    checked = Checked(thing)
    warm = False
    if thing.kind == "simulator":
        built = _built(thing, options)
        checked.version = version_of(built, thing.name)
        warm = isinstance(built, WarmSimulator)
    elif thing.kind == "technology":
        read_technology(Path(thing.made))

    def make() -> type:
        base = _contract(thing, warm)
        checked.contract = base.__name__
        return type("TestContract", (base,), _fixture(thing, base, options))

    checked.behaviours = _run(make, limit)
    return checked


def chosen() -> type:
    """The class that is being run; what the test module has in it."""
    assert _current, "it is set for as long as pytest runs"
    return _current[-1]()


_current: list[Callable[[], type]] = []
_count = itertools.count()


def _built(thing: Thing, options: Mapping[str, Any]) -> Any:
    words = f"{thing.kind} {thing.name} cannot be built:"
    return asked(lambda: thing.made(dict(options)), words, f"{words} it takes")


def _contract(thing: Thing, warm: bool) -> type:
    """The plugin's own contract, or the general one. Raises PluginError."""
    base = _found(_BASES[thing.kind])
    own = thing.contract
    if own is not None and not inspect.isclass(own):
        try:
            own = own(thing.kind, thing.name)
        except Exception as error:  # a stranger's code may raise anything
            raise PluginError(f"plugin {thing.plugin}: contract raised {cause(error)}") from error
        if own is not None and not (inspect.isclass(own) and issubclass(own, base)):
            wanted = base.__name__.replace("Netlists", "SimulatorContract")
            raise PluginError(
                f"plugin {thing.plugin}: contract('{thing.kind}', '{thing.name}') gave {own!r} "
                f"(expected a subclass of {wanted}, or None)"
            )
    if inspect.isclass(own) and issubclass(own, base):
        return own
    if thing.kind == "simulator":
        return _found("sessions:WarmSimulatorContract" if warm else "simulators:SimulatorContract")
    return base


def _found(place: str) -> type:
    module, _, name = place.partition(":")
    module = f"{_TESTING}.{module}"
    if module not in sys.modules:
        pytest.register_assert_rewrite(module)
    found: type = getattr(import_module(module), name)
    return found


def _fixture(thing: Thing, base: type, options: Mapping[str, Any]) -> dict[str, Any]:
    """The one thing that a contract asks of its subclass."""
    if thing.kind == "simulator":

        @pytest.fixture
        def simulator(self: Any) -> Any:
            return thing.made(dict(options))

        return {"simulator": simulator}
    if thing.kind == "agent":

        @pytest.fixture
        def factory(self: Any) -> Any:
            return lambda design, seed, given: thing.made(design, seed, {**options, **given})

        return {"factory": factory}
    if thing.kind == "measure":

        @pytest.fixture
        def function(self: Any) -> Any:
            return thing.made

        return {"function": function}

    @pytest.fixture
    def technology_file(self: Any) -> Path:
        return Path(thing.made)

    given = {**getattr(base, "simulator_options", {}), **options}
    return {"technology_file": technology_file, "simulator_options": given}


def _run(make: Callable[[], type], limit: float) -> list[Behaviour]:
    """Run pytest on one class, apart from the settings and plugins of whoever calls."""
    recorder = _Recorder(limit)
    failure: list[M3edaError] = []

    def guarded() -> type:
        try:
            return make()
        except M3edaError as error:
            failure.append(error)
            raise

    with tempfile.TemporaryDirectory(prefix="m3eda-check-") as name:
        folder, module = Path(name), f"test_m3eda_contract_{next(_count)}"
        (folder / f"{module}.py").write_text(_MODULE, encoding="utf-8")
        (folder / "pytest.ini").write_text("[pytest]\nmarkers = simulator\n", encoding="utf-8")
        arguments = [
            str(folder / f"{module}.py"), "-c", str(folder / "pytest.ini"), "--rootdir", name,
            "--basetemp", str(folder / "runs"), "-p", "no:cacheprovider", "-q",
            "--import-mode", "importlib",
            # both collect garbage several times a run
            "-p", "no:unraisableexception", "-p", "no:threadexception",
        ]  # fmt: skip
        told = io.StringIO()
        _current.append(guarded)
        try:
            with _alone(), contextlib.redirect_stdout(told), contextlib.redirect_stderr(told):
                pytest.main(arguments, plugins=[recorder])
        finally:
            _current.pop()
            sys.modules.pop(module, None)
    if recorder.interrupted:
        raise KeyboardInterrupt
    if failure:
        raise failure[0]
    if not recorder.found:
        raise PluginError(f"the contract does not run:\n{told.getvalue().strip()}")
    return list(recorder.found.values())


@contextlib.contextmanager
def _alone() -> Iterator[None]:
    """Without the plugins and options of pytest that this environment has."""
    kept = {name: os.environ.get(name) for name in ("PYTEST_ADDOPTS", "PYTEST_PLUGINS")}
    kept["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = os.environ.get("PYTEST_DISABLE_PLUGIN_AUTOLOAD")
    for name in kept:
        os.environ.pop(name, None)
    os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
    try:
        yield
    finally:
        for name, value in kept.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value


class _Recorder:
    """A plugin of pytest: keeps what became of each test, and ends one that takes too long."""

    def __init__(self, limit: float) -> None:
        self.found: dict[str, Behaviour] = {}
        self.interrupted = False
        self._limit = limit
        self._late = 0

    def pytest_keyboard_interrupt(self, excinfo: pytest.ExceptionInfo[BaseException]) -> None:
        # a module that cannot be collected interrupts pytest too, in a way of its own
        self.interrupted = excinfo.type is KeyboardInterrupt

    def pytest_runtest_setup(self) -> None:
        if self._late == _PATIENCE:
            pytest.skip(f"{_PATIENCE} behaviours before it did not end")

    @pytest.hookimpl(hookwrapper=True)
    def pytest_runtest_call(self) -> Generator[None, None, None]:
        with _deadline(self._limit):
            yield

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        name = report.nodeid.rpartition("::")[2]
        if report.passed and report.when == "call":
            self.found[name] = Behaviour(_words(name), "holds", seconds=report.duration)
        elif report.skipped:
            place = report.longrepr
            reason = place[2] if isinstance(place, tuple) else str(place)
            text = _line(reason.removeprefix("Skipped: "))
            self.found[name] = Behaviour(_words(name), "left out", text)
        elif report.failed:
            text = report.longreprtext
            self._late += _LATE in text
            self.found[name] = Behaviour(
                _words(name), "fails", _line(_reason(report)), text, report.duration
            )


@contextlib.contextmanager
def _deadline(seconds: float) -> Iterator[None]:
    """Fail what takes longer, where signals can be had: in the main thread."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def late(_number: int, _frame: Any) -> None:
        pytest.fail(f"{_LATE} {seconds:g} s")

    before = signal.signal(signal.SIGALRM, late)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0.0)
        signal.signal(signal.SIGALRM, before)


def _reason(report: pytest.TestReport) -> str:
    """What was raised; where that says nothing, the line that raised it."""
    text = report.longreprtext
    crash = getattr(report.longrepr, "reprcrash", None)
    reason = str(crash.message) if crash else text
    lines = [line[1:].strip() for line in text.splitlines() if line.startswith(">")]
    if reason.startswith("assert "):
        return reason.partition("\n")[0]
    reason = reason.partition("\nassert ")[0].partition("\nTraceback ")[0]
    return lines[-1] if lines and reason.strip() == "AssertionError" else reason


def _words(name: str) -> str:
    """`test_gives_what_run_gives[step]` as a reader says it."""
    text, bracket, case = name.removeprefix("test_").partition("[")
    return f"{text.replace('_', ' ')} [{case}" if bracket else text.replace("_", " ")


def _line(reason: str) -> str:
    text = " ".join(reason.split()).removeprefix("AssertionError: ").removeprefix("Failed: ")
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."
