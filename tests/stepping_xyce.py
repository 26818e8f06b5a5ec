"""A `Xyce` that solves dividers, one a row of its `.data` table, and fails on demand.

The value of `r1`, in ohm, says what goes wrong, as a real Xyce would show it. What comes behind a
row that takes gmin stepping, or fails, is off by a millionth. `r3` does not hear of parameters that
are stepped. Run as a program; only the standard library, for it starts dozens of times.
"""

from __future__ import annotations

import os
import re
import shlex
import signal
import sys
import time
from pathlib import Path

(STOPS, LEFT_OUT, KILLED, HANGS, HALF, CUT, UNCLEAR, NO_MEASURE, HANGS_IN_BATCH,
 KILLED_IN_BATCH, STEPPING) = range(1001, 1012)  # fmt: skip

FREQUENCIES = (1.0, 10.0, 100.0)
TIMES = (0.0, 4e-6, 1e-5)


def install(folder: Path) -> Path:
    """A program `Xyce` in `folder`, which is made; its path."""
    folder.mkdir(exist_ok=True)
    program = folder / "Xyce"
    command = shlex.join([sys.executable, "-S", "-E", str(Path(__file__).resolve())])
    program.write_text(f'#!/bin/sh\nexec {command} "$@"\n')
    program.chmod(0o755)
    return program


class Run:
    def __init__(self, deck: Path, log: Path) -> None:
        self.deck, self.log, self.code, self.spoilt = deck, log, 0, False
        lines = [line for line in deck.read_text().splitlines()[1:] if line and line[0] != "*"]
        text = "\n".join(lines).replace("\n+", "")
        self.cards = text.splitlines()
        self.kind = next(w for w in ("ac", "tran", "noise", "dc") if f"\n.print {w} " in text)
        self.params = dict(re.findall(r"^\.param (\w+)=(\S+)", text, re.MULTILINE))
        names, self.rows = [], [()]
        if found := re.search(r"^\.data \w+ (.*)$", text, re.MULTILINE):
            words = found[1].split()
            names = [word for word in words if word[0].isalpha()]
            numbers = words[len(names) :]
            self.rows = [numbers[i : i + len(names)] for i in range(0, len(numbers), len(names))]
        self.names = names
        self.prints = re.search(rf"\.print {self.kind} \S+ \S+ (.*)", text)[1].split()
        self.beside = ".print ac_ic" in text
        self.diagnostic = re.findall(
            r"^\.options diagnostic diagfilename=(\S+)", text, re.MULTILINE
        )
        self.measures = re.findall(r"^\.measure \w+ (\w+)", text, re.MULTILINE)

    def value(self, text: str, params: dict[str, str]) -> float:
        text = text.strip("{}")
        for _ in range(5):
            text = re.sub(r"[a-z]\w*", lambda m: f"({params[m[0]].strip('{}')})", text)
        return eval(text, {})

    def rows_of(self, kind: str, number: int) -> list[str]:
        stepped = {**self.params, **dict(zip(self.names, self.rows[number], strict=True))}
        r = {}
        for card in self.cards:
            if match := re.match(r"(r\d) \w+ \w+ (\S+)", card):
                params = self.params if match[1] == "r3" else stepped
                r[match[1]] = self.value(match[2], params)
        self.fault = round(r["r1"])
        ratio = r["r2"] / (r["r1"] + r["r2"]) + r.get("r3", 0.0) * 1e-9
        if self.spoilt:
            ratio *= 1.0 + 1e-6
        points = {"ac": FREQUENCIES, "noise": FREQUENCIES, "tran": TIMES}.get(kind, (0.0,))
        if self.fault == HALF:
            points = points[:-1] if kind == "tran" else points
        mark = {name: float(value) for name, value in stepped.items() if name.endswith("row")}
        known = {"v(out)": ratio, "v(in)": 1.0, "onoise": ratio, **mark}
        table = []
        for point in points:
            cells = [] if kind == "dc" else [point]
            for name in self.prints:
                cells += [known[name], 0.0] if kind == "ac" else [known[name]]
            table.append(",".join(f"{cell:.15e}" for cell in cells))
        self.ratio = ratio
        return table

    def header(self, kind: str) -> str:
        first = {"ac": ["FREQ"], "noise": ["FREQ"], "tran": ["TIME"], "td": ["TIME"]}.get(kind, [])
        halves = [f"{half}({n.upper()})" for n in self.prints for half in ("Re", "Im")]
        return ",".join([*first, *(halves if kind == "ac" else map(str.upper, self.prints))])

    def go(self) -> None:
        ending = {"ac": ".FD.csv", "noise": ".NOISE.csv"}.get(self.kind, ".csv")
        several = len(self.rows) > 1
        with (
            Path(f"{self.deck}{ending}").open("w") as main,
            Path(f"{self.deck}.TD.csv").open("w") as beside,
        ):
            main.write(self.header(self.kind) + "\n")
            beside.write(self.header("td") + "\n")
            for number in range(len(self.rows)):
                table = self.rows_of(self.kind, number)
                main.flush()
                self.tell()
                if self.fault == KILLED or (several and self.fault == KILLED_IN_BATCH):
                    os.kill(os.getpid(), signal.SIGKILL)
                if self.fault == HANGS or (several and self.fault == HANGS_IN_BATCH):
                    time.sleep(600.0)
                half = self.fault == HALF and self.kind == "tran"
                if half or self.fault in (STOPS, LEFT_OUT, UNCLEAR):
                    self.code = 1
                if self.fault == STOPS:
                    self.log.write_text(
                        "Netlist error: Solving for DC operating point failed! Cannot continue AC\n"
                        " analysis\n"
                    )
                    return
                self.spoilt |= self.fault in (LEFT_OUT, STEPPING) or half
                if self.fault == LEFT_OUT:
                    self.log.write_text("\tFailed DC sweep steps:\t\t\n\t\tDC Step # 1\n")
                    continue
                text = "\n".join(table) + "\n"
                main.write(text[:-9] if self.fault == CUT else text)
                if self.kind == "ac" and self.beside:
                    beside.write("\n".join(self.rows_of("td", number)) + "\n")
                self.after(number)

    def tell(self) -> None:
        if not self.diagnostic:
            return
        begins = {"ac": "INITIALIZE AC_IC", "noise": "INITIALIZE NOISE_IC", "tran": "STEP_STARTED"}
        lines = [begins.get(self.kind, "INITIALIZE DC"), "DC_OP_STARTED DC"]
        if self.fault in (STEPPING, STOPS, LEFT_OUT):
            lines += ["DC_OP_FAILED DC", "DC_OP_GMIN_STEPPING DC"]
        with Path(self.diagnostic[0]).open("a") as file:
            file.writelines(f"Analysis event {line}\n" for line in lines)

    def after(self, number: int) -> None:
        if self.kind == "noise":
            with self.log.open("a") as log:
                log.write(f"Total Output Noise = {self.ratio:.6e}\nTotal Input Noise = 1e-06\n")
        if self.measures and self.fault != NO_MEASURE:
            ending = {"ac": "ma", "noise": "ma", "tran": "mt"}.get(self.kind, "ms")
            lines = "".join(f"{name.upper()} = {self.ratio:.15e}\n" for name in self.measures)
            Path(f"{self.deck}.{ending}{number}").write_text(lines)


def main(arguments: list[str]) -> int:
    if arguments == ["-v"]:
        sys.stdout.write("Xyce Release 7.8.0-opensource\n")
        return 0
    run = Run(Path(arguments[-1]), Path(arguments[arguments.index("-l") + 1]))
    run.log.write_text("")
    run.go()
    return run.code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
