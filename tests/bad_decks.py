"""Decks that fail, with what becomes of them: one of each kind that designers and searches make."""

from __future__ import annotations

from m3eda.simulate.types import State

NMOS = ".model nch nmos level=1 vto=0.5 kp=100u lambda=0.05\n"
BSIM4 = ".model nm nmos level=54 version=4.5 toxe=-1n\n"
START = "title\nv1 in 0 dc 1 ac 1\n"

FAILURES: dict[str, tuple[str, State, str]] = {
    "missing model": (
        "m1 out in 0 0 nosuch w=1u l=1u\nr1 in out 1k\n.ac dec 1 1 10\n",
        State.MODEL_MISSING,
        "line 3: could not find a valid modelname: m1 out in 0 0 nosuch",
    ),
    "model of another size": (
        "m1 in in 0 0 nch w=1u l=1u\n"
        ".model nch.1 nmos level=54 version=4.5 lmin=1e-7 lmax=2e-7 wmin=1e-7 wmax=2e-7\n.op\n",
        State.MODEL_MISSING,
        "line 3: could not find a valid modelname",
    ),
    "missing subcircuit": (
        "x1 in out nosub\nr1 in out 1k\n.op\n",
        State.MODEL_MISSING,
        "line 3: unknown subckt: x1 in out nosub",
    ),
    "missing include": (".include /no/x.lib\nr1 in 0 1k\n.op\n", State.MODEL_MISSING, "/no/x.lib"),
    "missing library": (".lib /no/x.lib tt\nr1 in 0 1k\n.op\n", State.MODEL_MISSING, "/no/x.lib"),
    "fatal model parameter": (
        f"m1 out in 0 0 nm w=1u l=1u\nr1 in out 1k\n{BSIM4}.op\n",
        State.MODEL_MISSING,
        "model nm of device instance m1: Toxe = -1e-09 is not positive.",
    ),
    "element without a model": ("zz1 what is this\n.op\n", State.MODEL_MISSING, "line 3: "),
    "unknown card": ("r1 in 0 1k\n.foo bar\n.op\n", State.PARSE_ERROR, "line 4: unimplemented"),
    "unknown parameter": (
        f"{NMOS}m1 in in 0 0 nch foo=3\n.op\n",
        State.PARSE_ERROR,
        "line 4: unknown parameter (foo)",
    ),
    "the same device twice": (
        "r1 in 0 1k\nr1 in 0 1k\n.op\n",
        State.PARSE_ERROR,
        "line 4: device already exists",
    ),
    "undefined parameter": (
        "r1 in 0 {rr}\n.op\n",
        State.PARSE_ERROR,
        "line 3: Undefined parameter [rr]: r1 in 0 {rr}",
    ),
    "undefined function": ("r1 in 0 {foo(3)}\n.op\n", State.PARSE_ERROR, "line 3: Undefined"),
    "unbalanced brace": ("r1 in 0 {1k\n.op\n", State.PARSE_ERROR, 'line 3: Closing "}" not found'),
    "subcircuit without an end": (
        ".subckt s a b\nr1 a b 1k\nx1 in 0 s\n.op\n",
        State.PARSE_ERROR,
        "Mismatch of .subckt ... .ends statements! .subckt s a b",
    ),
    "too few ports": (
        ".subckt s a b\nr1 a b 1k\n.ends\nx1 in s\n.op\n",
        State.PARSE_ERROR,
        "Too few parameters for subcircuit",
    ),
    "analysis without its numbers": ("r1 in 0 1k\n.ac dec 1\n", State.PARSE_ERROR, "startfreq"),
    "sweep of no source": ("r1 in 0 1k\n.dc v9 0 1 1\n", State.PARSE_ERROR, '"v9" is not in'),
    "noise of no source": (
        "r1 in 0 1k\n.noise v(in) v9 dec 1 1 10\n",
        State.PARSE_ERROR,
        "v9 not in circuit",
    ),
    "voltage loop": ("v2 in 0 2\nr1 in 0 1k\n.op\n", State.NO_CONVERGENCE, "operating point"),
    "singular matrix": (
        "r1 in 0 1k\ni1 0 fl 1u\nc1 fl x 1p\nl1 x y 1u\n.ac dec 1 1 10\n",
        State.NO_CONVERGENCE,
        "matrix is singular (the AC analysis gave no points)",
    ),
    "time step too small": (
        "v3 a 0 pulse 0 1 5n 0 0 1 1\nb1 out 0 i=v(a)>0.5 ? 1e6*sgn(v(out)-0.3) : 0\n"
        "r1 out 0 1k\nc1 out 0 1f\n.tran 1n 10n\n",
        State.NO_CONVERGENCE,
        'trouble with node "out" (the transient stopped at t = 5.5e-09 s of 1e-08 s)',
    ),
    "no analysis": ("r1 in 0 1k\n", State.PARSE_ERROR, "no analysis card"),
    "control block": (
        "r1 in 0 1k\n.op\n.control\nquit\n.endc\n",
        State.PARSE_ERROR,
        "line 5: remove the .control block",
    ),
    "missing node": (
        "r1 in 0 1k\n.noise v(far) v1 dec 1 1 10\n",
        State.VECTOR_MISSING,
        "no node far",
    ),
    "no port": ("r1 in 0 1k\n.sp dec 1 1 10\n", State.PARSE_ERROR, "no port"),
    "function of a function": (
        ".func f(x) {g(x)}\nr1 in 0 {f(2)}\n.op\n",
        State.PARSE_ERROR,
        "Undefined parameter [g]",
    ),
}
"""What follows `START`, the state it ends in, and words of the reason."""
