"""A stranger's code, called for a limited time: what it raises, and that it hangs, in one line."""

from __future__ import annotations

import contextlib
import os
import queue
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

from m3eda.errors import M3edaError, PluginError, cause

T = TypeVar("T")

LIMIT = 10.0
"""Seconds that a plugin may take to be imported, and in each of its hooks."""
PROGRAM_LIMIT = 60.0
"""Seconds that a simulator may take to be built, and to tell its version: it starts a program."""

_AGAIN = 1.0
"""Seconds after which code that has swallowed the alarm hears it again."""

_hung: dict[tuple[str, float], str] = {}
"""What hung in this process, and the words on it: it is not waited for twice."""


class PluginFault(Exception):
    """What is wrong with a plugin, in words that follow its name."""


class Overdue(BaseException):
    """Not an Exception, which the plugin's own code might catch."""


def limit(otherwise: float = LIMIT) -> float:
    """Seconds of M3EDA_PLUGIN_TIMEOUT, 0 for no limit. Raises PluginError."""
    text = os.environ.get("M3EDA_PLUGIN_TIMEOUT", "").strip()
    try:
        seconds = float(text or otherwise)
    except ValueError:
        seconds = -1.0
    if not 0.0 <= seconds < float("inf"):
        raise PluginError(
            f"M3EDA_PLUGIN_TIMEOUT is '{text}' (expected a number of seconds, 0 for no limit)"
        )
    return seconds


def guarded(call: Callable[[], T], raised: str, late: str, loading: str = "") -> T:
    """What `call` gives. Raises PluginFault: `raised` with what it raised, `late` where it hangs.

    `loading` names what is loaded: its prints go to stderr, as stdout is for results, the working
    directory stays, and where it hangs, it is not called a second time in this process.
    """
    seconds = limit()
    if (loading, seconds) in _hung:
        raise PluginFault(_hung[loading, seconds])
    try:
        with _aside() if loading else contextlib.nullcontext():
            return limited(call, seconds)
    except (KeyboardInterrupt, PluginFault):
        raise
    except Overdue:
        words = f"{late} longer than {seconds:g} s (M3EDA_PLUGIN_TIMEOUT)"
        if loading:
            _hung[loading, seconds] = words
        raise PluginFault(words) from None
    except M3edaError as error:
        raise PluginFault(f"{raised} {' '.join(str(error).split())}") from error
    except BaseException as error:  # a stranger's code may raise anything
        raise PluginFault(f"{raised} {cause(error)}") from error


@contextlib.contextmanager
def _aside() -> Iterator[None]:
    """Prints go to stderr; the working directory, which the user's paths start from, stays."""
    try:
        before = os.getcwd()
    except FileNotFoundError:  # removed meanwhile: there is nothing to go back to
        before = os.curdir
    try:
        with contextlib.redirect_stdout(sys.stderr):
            yield
    finally:
        with contextlib.suppress(OSError):
            os.chdir(before)


def asked(call: Callable[[], T], raised: str, late: str) -> T:
    """What `call` of a simulator gives, which may start a program and raise any M3edaError.

    Raises PluginError: `raised` with what else it raised, `late` where it hangs.
    """
    seconds = limit(PROGRAM_LIMIT)
    try:
        return limited(call, seconds)
    except (M3edaError, KeyboardInterrupt):
        raise
    except Overdue:
        text = f"{late} longer than {seconds:g} s (M3EDA_PLUGIN_TIMEOUT)"
        raise PluginError(text) from None
    except BaseException as error:  # a stranger's code may raise anything
        raise PluginError(f"{raised} {cause(error)}") from error


def limited(call: Callable[[], T], seconds: float) -> T:
    """What `call` gives, ended by an exception after so many seconds; 0 for no limit.

    In the main thread an alarm ends what runs Python or waits; code of another language that does
    neither is waited for. In another thread it runs beside, and is left behind when time is up.
    """
    if not seconds:
        return call()
    if threading.current_thread() is not threading.main_thread():
        return _beside(call, seconds)
    if not hasattr(signal, "setitimer") or signal.getsignal(signal.SIGALRM) is None:
        return _beside(call, seconds)  # no such alarm, or its handler could not be restored
    return _with_alarm(call, seconds)


def _with_alarm(call: Callable[[], T], seconds: float) -> T:
    armed = [True]

    def ring(_number: int, _frame: Any) -> None:
        if armed:
            raise Overdue

    began = time.monotonic()
    earlier = signal.signal(signal.SIGALRM, ring)
    remaining, interval = signal.setitimer(signal.ITIMER_REAL, seconds, _AGAIN)
    try:
        try:
            return call()
        finally:
            armed.clear()
    finally:  # of its own: the alarm may have rung within the other
        signal.setitimer(signal.ITIMER_REAL, 0.0)
        if signal.getsignal(signal.SIGALRM) is ring:
            signal.signal(signal.SIGALRM, earlier)
        if remaining:
            left = max(1e-6, remaining - (time.monotonic() - began))
            signal.setitimer(signal.ITIMER_REAL, left, interval)


def _beside(call: Callable[[], T], seconds: float) -> T:
    done: queue.SimpleQueue[tuple[list[T], BaseException | None]] = queue.SimpleQueue()

    def work() -> None:
        try:
            done.put(([call()], None))
        except BaseException as error:  # noqa: BLE001  raised again where it is waited for
            done.put(([], error))

    threading.Thread(target=work, name="m3eda-plugin", daemon=True).start()
    try:
        result, error = done.get(timeout=seconds)
    except queue.Empty:
        raise Overdue from None
    if error is not None:
        raise error
    return result[0]
