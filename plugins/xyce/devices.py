"""Devices of ngspice in Xyce's words: positions, values and instance parameters."""

from __future__ import annotations

import re
from collections.abc import Mapping

from m3eda_plugins.xyce.expressions import NO_SCOPE, Scope, declared, translated
from m3eda_plugins.xyce.sources import NO_TIMES, Times, behavioural, controlled, independent
from m3eda_plugins.xyce.text import Refused, assignments, first_key, listed, with_assignments, words
from m3eda_plugins.xyce.values import in_braces, value

_ABSENT = {
    "a": "Xyce has no code models (XSPICE)", "u": "Xyce has no URC lines",
    "n": "this Verilog-A model (OSDI) is for ngspice: Xyce has its own",
    "p": "Xyce has no CPL lines", "y": "Xyce has no TXL lines",
}  # fmt: skip
_NODES = {"r": 2, "c": 2, "l": 2, "d": 2, "m": 4, "q": 3, "j": 3, "z": 3, "t": 4, "o": 4, "s": 4,
          "w": 3, "k": 2}  # fmt: skip
"""Words behind the name that are nodes or names of other devices."""
_MOS = listed(
    "l w m nf ad as pd ps nrd nrs sa sb sd sca scb scc sc min rbdb rbsb rbpb rbps rbpd delvto"
    " delvt0 xgw ngcon trnqsmod acnqsmod rbodymod rgatemod geomod rgeomod nqsmod off ic temp dtemp"
    " rth0 cth0 nrb frbody nbc nseg pdbcp psbcp agbcp aebcp vbsusr bjtoff soimod"
)
_KNOWN: Mapping[str, frozenset[str]] = {
    "r": listed("r m l w temp dtemp tc tc1 tc2 tce"),
    "c": listed("c q m ic l w temp dtemp tc tc1 tc2"),
    "l": listed("l m ic temp dtemp tc tc1 tc2"),
    "d": listed("area pj m ic temp dtemp off"),
    "m": _MOS,
    "q": listed("area m ic temp dtemp off"),
    "j": listed("area temp dtemp"),
    "z": listed("area temp dtemp"),
    "t": listed("z0 zo td f nl"),
    "o": frozenset(),
    "s": frozenset({"on", "off"}),
    "w": frozenset({"on", "off"}),
    "k": frozenset({"k"}),
}  # fmt: skip
"""Instance parameters that Xyce takes."""
_DROPPED = frozenset({"bv_max", "vgs_max", "vgd_max", "vds_max", "wnflag", "thermal", "rel"})
"""Instance parameters of ngspice that change no results."""
_NEUTRAL = {"mulu0": 1.0, "delvto": 0.0, "scale": 1.0, "areab": 1.0, "areac": 1.0, "geo": 0.0,
            "noisy": 1.0}  # fmt: skip
"""Values at which an instance parameter that Xyce lacks means nothing."""
_FLAGS = ("on", "off")
_VALUE = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:e[+-]?\d+)?(?:t|g|meg|mil|k|m|u|n|p|f)?", re.I)


def device(text: str, scope: Scope = NO_SCOPE, times: Times = NO_TIMES) -> str:
    """A device's card. Raises Refused."""
    letter = text[:1].lower()
    if letter in "viefghb":
        return _source(text, letter, scope, times)
    if letter == "x":
        return _with_values(text, scope)
    if letter in _NODES:
        return _plain(text, letter, scope, times.uic)
    raise Refused(_ABSENT.get(letter, f"'{text.split()[0]}' is no device that Xyce knows"))


def _source(text: str, letter: str, scope: Scope, times: Times) -> str:
    made: str
    if letter in "vi":
        made = independent(text, scope, times)
    else:
        made = controlled(text, scope) if letter != "b" else behavioural(text, scope)
    return made


def called(text: str) -> str:
    """The name of the subcircuit that an X card calls, lower case."""
    head = [word for word in text[: first_key(text)].split() if word.lower() != "params:"]
    return head[-1].lower()


def has_multiplier(text: str) -> bool:
    """Whether a card has `m=`."""
    return any(key.lower() == "m" for key, _ in assignments(text[first_key(text) :]))


def _with_values(text: str, scope: Scope) -> str:
    """The text with its parameters' values translated, each where it stands."""
    place = first_key(text)
    values: str = with_assignments(
        text[place:], lambda key, word: (declared(key), value(word, scope))
    )
    return f"{text[:place]}{values}"


def _plain(text: str, letter: str, scope: Scope, uic: bool) -> str:
    place = first_key(text)
    head = [word for word in words(text[:place]) if word not in "(),"]
    nodes = _NODES[letter]
    if len(head) < nodes + 1:
        raise Refused(f"'{' '.join(text.split())}' has fewer than {nodes} nodes")
    flags = [word for word in head[nodes + 1 :] if word.lower() in _FLAGS]
    rest = [word for word in head[nodes + 1 :] if word not in flags]
    values = [_positional(word, index, letter, scope) for index, word in enumerate(rest)]
    found = _vectors(text[place:], scope)
    keys = {key.lower(): word for key, word in found}
    kept = [(key, word) for key, word in found if _stays(letter, key.lower(), word)]
    if not uic:
        # Xyce holds them at every operating point, ngspice at none
        kept = [(key, word) for key, word in kept if key.lower() != "ic"]
    if letter == "r" and _is_zero(keys.get("noisy", "1")):
        return _noiseless(head[:3], values, keys)
    made = [*head[: nodes + 1], *values, *flags]
    if letter in "rcl" and "scale" in keys and not _is(keys["scale"], 1.0):
        kept = [(key, word) for key, word in kept if key.lower() != "scale"]
        _scale(made, kept, letter, nodes + 1, keys["scale"])
    if letter in "jz":
        kept = _as_area(made, kept, nodes + 2)
    made += [key if key.lower() in _FLAGS and not word else f"{key}={word}" for key, word in kept]
    same = made == [*head[: nodes + 1], *rest, *flags, *_as_written(text[place:])]
    return text if same else " ".join(made)


def _as_written(text: str) -> list[str]:
    """The instance parameters as they stand, a word each; none where they are written otherwise."""
    return [f"{key}={word}" if word else key for key, word in assignments(text)]


def _positional(word: str, index: int, letter: str, scope: Scope) -> str:
    """A word behind the nodes: the name of a model, or a value."""
    made: str = word
    if letter == "k" or (letter in "rcl" and index < 2):
        made = value(word, scope, bare=letter != "k")
    elif letter in "dqjz" and index > 0 and _is_value(word):
        made = value(word, scope)
    return made


def _is_value(word: str) -> bool:
    """Whether a word is a value rather than a name such as 2n3904."""
    return in_braces(word) is not None or _VALUE.fullmatch(word) is not None


def _vectors(text: str, scope: Scope) -> list[tuple[str, str]]:
    """Instance parameters, translated; `ic=1, 2` and `tc=1m 2m` are one value."""
    made: list[tuple[str, str]] = []
    for key, whole in assignments(text):
        if not whole:
            if key.lower() not in _FLAGS:
                raise Refused(f"'{key}' has no value")
            made.append((key, ""))
            continue
        parts = whole.split() if in_braces(whole) is None else [whole]
        flags = [part for part in parts if part.lower() in _FLAGS]
        if key.lower() in ("ic", "tc"):
            pieces = [p for p in words(whole) if p != "," and p not in flags]
            made.append((key, ",".join(value(piece, scope) for piece in pieces)))
        else:
            made.append((key, value(" ".join(p for p in parts if p not in flags), scope)))
        made += [(flag, "") for flag in flags]
    return made


def _is(word: str, number: float) -> bool:
    try:
        return float(word) == number
    except ValueError:
        return False


def _is_zero(word: str) -> bool:
    return _is(word, 0.0)


def _stays(letter: str, key: str, word: str) -> bool:
    """Whether an instance parameter stays. Raises Refused where it cannot be said."""
    if key in _DROPPED or (key in _NEUTRAL and _is(word, _NEUTRAL[key])):
        return False
    if key in _KNOWN[letter]:
        return True
    if (letter in "jz" and key == "m") or (letter in "rcl" and key == "scale"):
        return True
    if letter == "r" and key == "noisy" and _is_zero(word):
        return False
    raise Refused(f"Xyce knows no '{key}=' of an {letter.upper()} device")


def _noiseless(head: list[str], values: list[str], keys: Mapping[str, str]) -> str:
    """A resistor without noise: a conductance as a controlled source."""
    resistance = values[0] if values else keys.get("r", "")
    others = [key for key in keys if key not in ("noisy", "r", "m")]
    if not resistance or others or len(values) > 1:
        raise Refused("a resistor with noisy=0 may have a value and m= only for Xyce")
    inner = in_braces(resistance) or resistance
    many = keys.get("m", "1")
    conductance = f"({in_braces(many) or many})/({inner})"
    first, second = head[1:3]
    return f"g{head[0]} {first} {second} {first} {second} {{{conductance}}}"


def _scale(
    made: list[str], kept: list[tuple[str, str]], letter: str, place: int, factor: str
) -> None:
    inner = in_braces(factor) or factor
    if len(made) > place:
        made[place] = f"{{({in_braces(made[place]) or made[place]})*({inner})}}"
        return
    for index, (key, word) in enumerate(kept):
        if key.lower() == letter:
            kept[index] = (key, f"{{({in_braces(word) or word})*({inner})}}")
            return
    raise Refused("scale= needs a value to scale")


def _as_area(made: list[str], kept: list[tuple[str, str]], place: int) -> list[tuple[str, str]]:
    """JFETs of Xyce have no `m`: so many in parallel have so many times the area."""
    keys = {key.lower(): word for key, word in kept}
    if "m" not in keys:
        return kept
    area = keys.get("area", made[place] if len(made) > place else "1")
    del made[place:]
    product = f"{{({in_braces(area) or area})*({in_braces(keys['m']) or keys['m']})}}"
    others = [(key, word) for key, word in kept if key.lower() not in ("m", "area")]
    return [("area", product), *others]


def subcircuit(text: str, scope: Scope = NO_SCOPE) -> str:
    """A `.subckt` card: the defaults of its parameters in braces."""
    return _with_values(text, scope)


def parameters(text: str, scope: Scope = NO_SCOPE) -> str:
    """A `.param` card. Raises Refused."""
    found = assignments(text.strip()[len(text.split(maxsplit=1)[0]) :])
    if not found or any(not word for _, word in found):
        raise Refused(f"'{' '.join(text.split())}' is no parameter: write .param name=value")
    return _with_values(text, scope)


_FUNCTION = re.compile(r"\.func\s+([A-Za-z_]\w*)\s*\(([^)]*)\)\s*=?\s*(.*)", re.I | re.S)


def function(text: str, rename: Mapping[str, str], scope: Scope = NO_SCOPE) -> str:
    """A `.func` card; `rename` gives another name where Xyce has a function of this one."""
    match = _FUNCTION.fullmatch(text.strip())
    if match is None:
        raise Refused(f"'{' '.join(text.split())}' is no function: write .func f(x) {{x*2}}")
    inner = in_braces(match[3])
    body = translated(inner if inner is not None else match[3], scope)
    arguments = ",".join(declared(argument.strip()) for argument in match[2].split(","))
    named = rename.get(match[1].lower(), match[1])
    if inner is not None and match[3].strip()[0] in "{'" and body == inner and named == match[1]:
        return text
    return f".func {named}({arguments}) {{{body.strip()}}}"
