"""Plays a commercial simulator: reads a small netlist, writes PSF ASCII or CSV, fails as told.

    fake_spectre.py deck [-csv] [-raw folder]

It knows a source `v1`, `r1` from `in` to `out` and at `out` one of `r2`, `c1` and a transistor `m1`
with its load `rd`, each in closed form. A comment `fault: word` makes it misbehave.
"""

from __future__ import annotations

import cmath
import math
import os
import re
import subprocess
import sys
import time
from pathlib import Path

UNITS = {"V": "V", "I": "A"}


def main() -> int:
    if "-W" in sys.argv:
        say("@(#)$CDS: spectre  version 23.1.0 64bit 01/02/2026 03:04 $")
        return 0
    text = Path(sys.argv[1]).read_text()
    folder = Path(sys.argv[sys.argv.index("-raw") + 1] if "-raw" in sys.argv else "psf")
    folder.mkdir(exist_ok=True)
    fault = next(iter(re.findall(r"fault: (\w+)", text)), "")
    given = {n.lower(): float(v) for n, v in re.findall(r"(\w+)=(\S+)", text) if number(v)}
    if refusal := refused(text, fault):
        say(f"Error found by spectre.\n    {refusal}")
        return 1
    if "tran tran stop=1e3" in text:
        child = subprocess.Popen(["sleep", "60"])
        time.sleep(60)
        child.kill()
    if fault == "crash":
        os.abort()
    write = csv if "-csv" in sys.argv else psf
    for kind, rows in analyses(text, given):
        write(folder, kind, rows, fault)
    say("spectre completes with 0 errors, 0 warnings, and 0 notices.")
    return 3 if fault == "exit" else 0


def say(text: str) -> None:
    sys.stdout.write(f"{text}\n")


def number(word: str) -> bool:
    return re.fullmatch(r"[-+.\deE]+", word) is not None


def refused(text: str, fault: str) -> str:
    if word := re.search(r"=(undefined\w+)", text):
        return f"ERROR (SFE-1996): undefined parameter `{word[1]}'."
    if "nowhere" in text:
        return "ERROR (SFE-23): `m1' is an instance of an undefined model `nowhere'."
    if fault == "convergence":
        return "ERROR (SPECTRE-16192): No convergence achieved in DC analysis."
    if fault == "licence":
        return "ERROR (LMC-01902): License call failed for feature MMSIM."
    return ""


def analyses(text: str, given: dict[str, float]):
    """Kind, and rows of name -> value, for each analysis line."""
    rc = given.get("r1", 1e3) * given.get("c1", 0.0)
    dc = point(text, given)
    if re.search(r"^op ", text, re.M):
        yield "dc", [{name: value for name, value in dc.items() if not name.startswith("m1:")}]
    if "oppoint" in text:
        yield "info", [{name: value for name, value in dc.items() if name.startswith("m1:")}]
    if re.search(r"^ac ", text, re.M):
        rows = []
        for step in range(round(given["dec"] * math.log10(given["stop"] / given["start"])) + 1):
            frequency = given["start"] * 10 ** (step / given["dec"])
            out = 1.0 / (1.0 + 2j * math.pi * frequency * rc)
            current = (out - 1.0) / given["r1"]
            rows.append({"freq": frequency, "in": 1 + 0j, "out": out, "v1:p": current})
        yield "ac", rows
    if re.search(r"^tran ", text, re.M):
        times = [given["stop"] * k / 500 for k in range(501)]
        yield "tran", [{"time": t, "in": 1.0, "out": 1.0 - math.exp(-t / rc)} for t in times]


def point(text: str, given: dict[str, float]) -> dict[str, float]:
    level = given.get("dc", 0.0)
    if "m1 " in text:
        beta, vov = given["kp"] * given["w"] / given["l"], given["vin"] - given["vto"]
        current = 0.5 * beta * vov**2
        out = given["vdd"] - given["rd"] * current
        return {"vdd": given["vdd"], "in": given["vin"], "out": out, "vdd:p": -current,
                "m1:ids": current, "m1:gm": beta * vov}  # fmt: skip
    out = level * given["r2"] / (given["r1"] + given["r2"]) if "r2" in given else level
    return {"in": level, "out": out, "V1:p": (out - level) / given.get("r1", 1e3)}


def psf(folder: Path, kind: str, rows: list[dict], fault: str) -> None:
    lines = ["HEADER", '"PSFversion" "1.00"', '"simulator" "spectre"', f'"analysis type" "{kind}"']
    if kind == "info":
        lines += ['"AnalysisType" "dcOp"']
    if kind == "tran":
        lines += [f'"stop" {rows[-1]["time"]:.6e}']
    word = "COMPLEX" if kind == "ac" else "FLOAT"
    lines += ["TYPE", '"sweep" FLOAT DOUBLE PROP(', '"key" "sweep"', ")"]
    for name, unit in UNITS.items():
        lines += [f'"{name}" {word} DOUBLE PROP(', f'"units" "{unit}"', ")"]
    members = [name.partition(":")[2] for name in rows[0] if name.startswith("m1:")]
    lines += ['"bsim4" STRUCT(', *(f'"{name}" FLOAT DOUBLE' for name in members), ")"]
    scale = {"ac": "freq", "tran": "time"}.get(kind, "")
    names = [name for name in rows[0] if name != scale]
    types = {name: "I" if name.endswith(":p") else "V" for name in names}
    if scale:
        lines += ["SWEEP", f'"{scale}" "sweep" PROP(', f'"units" "{UNIT[scale]}"', ")", "TRACE"]
        lines += [f'"{name}" "{types[name]}"' for name in names]
    lines += ["VALUE"]
    for row in rows[: len(rows) // 2] if fault == "short" else rows:
        if kind == "info":
            lines += ['"m1" "bsim4" (', *(shown(row[f"m1:{name}"]) for name in members), ")"]
            continue
        if scale:
            lines.append(f'"{scale}" {shown(row[scale])}')
        lines += [f'"{n}" {shown(row[n])}' if scale else f'"{n}" "{types[n]}" {shown(row[n])}'
                  for n in names]  # fmt: skip
    text = "\n".join([*lines, "END", ""])
    name = "opinfo.info" if kind == "info" else f"{kind}.{kind}"
    (folder / name).write_text(text[: -len(text) // 3] if fault == "partial" else text)


UNIT = {"freq": "Hz", "time": "s"}


def shown(value: complex) -> str:
    if isinstance(value, complex):
        return f"({value.real:.15e} {value.imag:.15e})"
    return f"{value:.15e}"


def csv(folder: Path, kind: str, rows: list[dict], fault: str) -> None:
    """As a script around HSPICE may write it: v(out), i(v1), and vr, vi for the parts."""
    lines = []
    for row in rows:
        cells: dict[str, float] = {}
        for name, value in row.items():
            node, _, terminal = name.partition(":")
            label = f"i({node})" if terminal == "p" else f"v({name})"
            if name in UNIT:
                cells[name] = value
            elif terminal not in ("", "p"):
                cells[f"{ {'gm': 'lx7', 'ids': 'lx4'}[terminal] }({node})"] = value
            elif isinstance(value, complex):
                cells[f"{label[0]}m{label[1:]}"] = abs(value)
                cells[f"{label[0]}p{label[1:]}"] = math.degrees(cmath.phase(value))
            else:
                cells[label] = value
        lines = lines or [",".join(cells)]
        lines.append(",".join(f"{value:.15e}" for value in cells.values()))
    text = "\n".join(lines) + "\n"
    (folder / f"{kind}.csv").write_text(text[:-30] if fault == "partial" else text)
    (folder / "deck.ma0").write_text(
        "$DATA1 SOURCE='HSPICE' VERSION='Q-2020.03'\n.TITLE 'fake'\n f3db  lost\n temper alter#\n"
        " 1.591549e+05  failed\n 27.0000  1.0000\n"
    )


if __name__ == "__main__":
    raise SystemExit(main())
