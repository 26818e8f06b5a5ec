"""Results and sizings as bytes, for the ledger and the cache.

A packed record is one line of JSON (names, state, reasons: what hardly changes from result to
result, and so is made once), then the numbers as little-endian doubles in the order of the line,
then a CRC-32 of both. Numbers come back bit for bit, nan and infinity too.
"""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from functools import lru_cache
from itertools import islice
from typing import Any
from zlib import crc32

from m3eda.design.types import Sizing, Value
from m3eda.simulate.trial import CornerResult, Sweep
from m3eda.simulate.types import State

_KNOWN_LINES = 4096
_line = json.JSONEncoder(separators=(",", ":"), check_circular=False).encode
_CODES = {float: "d", int: "q"}
"""Kinds of a sizing's values as `struct` writes them."""
_STATES = {state.value: state for state in State}


def encode_result(result: CornerResult) -> dict[str, Any]:
    """A corner's result as JSON-ready data; nan becomes null."""
    data = asdict(result)
    data["state"] = result.state.value
    data["measures"] = {k: _encoded(v) for k, v in result.measures.items()}
    for sweep in data["swept"].values():
        sweep["values"] = [_encoded(value) for value in sweep["values"]]
    return data


def decode_result(data: Mapping[str, Any]) -> CornerResult:
    """The result that `encode_result` was given."""
    read: dict[str, Any] = {
        "measures": {k: _decoded(v) for k, v in data["measures"].items()},
        "state": State(data["state"]),
        "swept": {
            name: Sweep(
                sweep["condition"], tuple(sweep["points"]), tuple(map(_decoded, sweep["values"]))
            )
            for name, sweep in data.get("swept", {}).items()
        },
    }
    return CornerResult(**{**data, **read})


def pack_result(result: CornerResult) -> bytes:
    return pack_results({"": result})


def unpack_result(data: bytes | str) -> CornerResult:
    """The result that `pack_result` was given; also from JSON, as ledgers of format 1 hold it.

    Raises ValueError where `data` is damaged.
    """
    try:
        if isinstance(data, str):
            return decode_result(json.loads(data))
        return unpack_results(data)[""]
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError("no packed result") from error


def pack_results(results: Mapping[str, CornerResult]) -> bytes:
    """Results by corner as one record."""
    heads: list[str] = []
    numbers: list[float] = []
    for corner, result in results.items():
        if result.state is State.COMPLETE and not (
            result.reasons or result.reason or result.log or result.swept
        ):
            heads.append(_plain_head(corner, tuple(result.measures), result.runs))
        else:
            heads.append(_head(corner, result))
        numbers.append(result.seconds)
        numbers += result.measures.values()
        for sweep in result.swept.values():
            numbers += sweep.points
            numbers += sweep.values
    return _sealed(f"{{{','.join(heads)}}}", _doubles(len(numbers)).pack(*numbers))


def unpack_results(data: bytes | str) -> dict[str, CornerResult]:
    """The results that `pack_results` was given, as with `unpack_result`. Raises ValueError."""
    try:
        if isinstance(data, str):
            return {corner: decode_result(part) for corner, part in json.loads(data).items()}
        line, body = _opened(data)
        numbers = iter(_doubles(len(body) // 8).unpack(body))
        return {corner: _result(head, numbers) for corner, head in _read_line(line).items()}
    except (struct.error, StopIteration, KeyError, TypeError, AttributeError) as error:
        raise ValueError("no packed results") from error


def pack_sizing(sizing: Sizing) -> bytes:
    kinds = "".join([_CODES.get(type(value), "?") for value in sizing.values()])
    if "?" not in kinds:
        try:
            body = struct.pack(f"<{kinds}", *sizing.values())
            return _sealed(_sizing_line(tuple(sizing), kinds), body)
        except struct.error:  # a whole number beyond 64 bits
            pass
    return _sealed(_line(dict(sizing)), b"")


def unpack_sizing(data: bytes | str) -> dict[str, Value]:
    """The sizing that `pack_sizing` was given, as with `unpack_result`. Raises ValueError."""
    line, body = (data.encode(), b"") if isinstance(data, str) else _opened(data)
    read = _read_line(line)
    if isinstance(read, dict):
        return dict(read)
    try:
        names, kinds = read
        return dict(zip(names, struct.unpack(f"<{kinds}", body), strict=True))
    except (struct.error, TypeError) as error:
        raise ValueError("no packed sizing") from error


@lru_cache
def _doubles(count: int) -> struct.Struct:
    return struct.Struct(f"<{count}d")


@lru_cache(_KNOWN_LINES)
def _sizing_line(names: tuple[str, ...], kinds: str) -> str:
    return _line([names, kinds])


def _head(corner: str, result: CornerResult) -> str:
    """The line's entry of one corner: `"corner":{...}`, with what is not empty only."""
    head: dict[str, Any] = {"measures": list(result.measures), "state": result.state.value}
    if result.runs:
        head["runs"] = result.runs
    for name in ("reason", "log"):
        if getattr(result, name):
            head[name] = getattr(result, name)
    if result.reasons:
        head["reasons"] = dict(result.reasons)
    if result.swept:
        head["swept"] = {n: [s.condition, len(s.points)] for n, s in result.swept.items()}
    return f"{_line(corner)}:{_line(head)}"


@lru_cache(_KNOWN_LINES)
def _plain_head(corner: str, names: tuple[str, ...], runs: int) -> str:
    return _head(corner, CornerResult(dict.fromkeys(names, 0.0), runs=runs))


@lru_cache(_KNOWN_LINES)
def _read_line(line: bytes) -> Any:
    """The JSON of a record's line, shared by all records with the same."""
    return json.loads(line)


def _result(head: Mapping[str, Any], numbers: Iterator[float]) -> CornerResult:
    seconds = next(numbers)
    names = head["measures"]
    measures = dict(zip(names, islice(numbers, len(names)), strict=True))
    swept = {}
    for name, (condition, count) in head.get("swept", {}).items():
        points = tuple(islice(numbers, count))
        swept[name] = Sweep(condition, points, tuple(islice(numbers, count)))
    return CornerResult(
        measures,
        dict(head.get("reasons", ())),
        _STATES[head["state"]],
        head.get("reason", ""),
        head.get("log", ""),
        seconds,
        head.get("runs", 0),
        swept,
    )


def _sealed(line: str, body: bytes) -> bytes:
    data = line.encode() + b"\n" + body
    return data + crc32(data).to_bytes(4, "little")


def is_whole(data: bytes) -> bool:
    """True where a packed record is as it was made."""
    return crc32(data[:-4]).to_bytes(4, "little") == data[-4:]


def _opened(data: bytes) -> tuple[bytes, bytes]:
    """The line and the numbers of a record. Raises ValueError."""
    if not is_whole(data):
        raise ValueError("a damaged record")
    line, _, body = data[:-4].partition(b"\n")
    return line, body


def _encoded(value: float) -> float | None:
    return None if math.isnan(value) else value


def _decoded(value: float | None) -> float:
    return math.nan if value is None else float(value)
