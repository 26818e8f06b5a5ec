"""What `m3eda plugins check` does: finds what a name stands for, runs its contract, tells."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from m3eda.errors import ExitCode, M3edaError, PluginError
from m3eda.plugins import WORDS, Plugins

if TYPE_CHECKING:
    from m3eda.plugin_contracts import Checked, Thing

HOOKS = ("simulators", "agents", "measures", "technologies")
"""What there are contracts for."""
NO_PYTEST = "m3eda plugins check needs pytest, which is not installed: pip install 'm3eda[test]'"


@dataclass(frozen=True)
class CheckOptions:
    """The options of `m3eda plugins check`."""

    options: Mapping[str, Any]
    """Given to what is built: a simulator, an agent, the simulator of a technology."""
    limit: float = 120.0
    """Seconds that one behaviour may take."""
    json: bool = False
    verbose: bool = False


def check_command(name: str, out: IO[str], options: CheckOptions) -> ExitCode:
    """Run the contracts of whatever `name` stands for, and tell which behaviours hold.

    Raises PluginError where pytest is missing or nothing is called so; where that is the only
    thing and cannot be built, what it raises, such as SimulatorMissing.
    """
    try:
        from m3eda import plugin_contracts
    except ImportError as error:
        if (error.name or "").partition(".")[0] not in ("pytest", "_pytest"):
            raise
        raise PluginError(NO_PYTEST) from error
    things = find(name)
    done: list[Checked] = []
    unbuilt: dict[str, M3edaError] = {}
    for thing in things:
        try:
            checked = plugin_contracts.check(thing, options.options, options.limit)
        except M3edaError as error:
            if len(things) == 1:
                raise
            unbuilt[f"{thing.kind} {thing.name}"] = error
            continue
        done.append(checked)
        if not options.json:
            out.writelines(f"{line}\n" for line in _told(checked, options.verbose))
            out.flush()
    code = _exit_code(done, unbuilt)
    if options.json:
        json.dump(_document(done, unbuilt, code), out, indent=2)
        out.write("\n")
    else:
        out.writelines(f"{what}: {error}\n" for what, error in unbuilt.items())
        out.writelines(f"{line}\n" for line in _summary(done, unbuilt))
    return code


def read_options(pairs: Sequence[str]) -> dict[str, Any]:
    """The options written `key=value`, as a design file reads them. Raises PluginError."""
    from m3eda.design.scalars import natural
    from m3eda.design.yamlfile import Text

    found: dict[str, Any] = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not (key and equals):
            raise PluginError(f"--option {pair}: expected key=value")
        try:
            found[key] = natural(Text(value))
        except ValueError as error:
            raise PluginError(f"--option {pair}: {error}") from error
    return found


def find(name: str) -> list[Thing]:
    """What `name` stands for: a plugin's file, a plugin, or a thing that plugins register.

    Raises PluginError where that is nothing, or nothing that has a contract.
    """
    path = Path(name)
    is_path = path.suffix == ".py" or "/" in name
    plugins = Plugins([Path(os.path.abspath(name))] if is_path else (), silent=True)
    if is_path:
        wanted = {key for key, each in plugins.found.items() if each.source.of_design}
    else:
        wanted = {
            key
            for key, each in plugins.found.items()
            if name in (each.source.name, f"{each.source.name}@{each.source.distribution}")
        }
    things = list(_things(plugins))
    # a hook that fails is known once the tables are filled
    problems = [line for key in wanted for line in plugins.found[key].problems]
    if problems:
        raise PluginError("\n".join(problems))
    found = [each for each in things if each.plugin in wanted or each.name == name]
    if is_path:
        found = [each for each in found if each.plugin in wanted]
    if not found:
        raise PluginError(_nothing(name, wanted, plugins))
    return found


def _things(plugins: Plugins) -> Iterator[Thing]:
    from m3eda.plugin_contracts import Thing

    for hook in HOOKS:
        table = plugins.table(hook)
        for name, made in table.items():
            owner = str(table.owners[name])
            module = plugins.manager.get_plugin(owner)
            yield Thing(WORDS[hook], name, made, owner, getattr(module, "contract", None))


def _nothing(name: str, wanted: set[str], plugins: Plugins) -> str:
    if wanted:
        kinds = ", ".join(HOOKS)
        return f"plugin {next(iter(wanted))} registers nothing that has a contract ({kinds} have)"
    from m3eda.design.yamlfile import nearest

    known = {plugin.source.name for plugin in plugins.found.values()}
    known |= {thing.name for thing in _things(plugins)}
    hint = nearest(name, known) or "see m3eda plugins"
    failed = [line for plugin in plugins.found.values() for line in plugin.problems]
    text = f"no plugin, and nothing that a plugin registers, is called '{name}' ({hint})"
    return "\n".join([text, *failed])


def _exit_code(done: Sequence[Checked], unbuilt: Mapping[str, M3edaError]) -> ExitCode:
    codes = [error.exit_code for error in unbuilt.values()]
    codes += [ExitCode.SPECS_NOT_MET for checked in done if checked.having("fails")]
    return max(codes, default=ExitCode.SPECS_MET)


def _told(checked: Checked, verbose: bool) -> Iterator[str]:
    """The lines on one thing: what fails and what was left out; all of it where verbose."""
    thing, fails, left_out = checked.thing, checked.having("fails"), checked.having("left out")
    run = len(checked.behaviours) - len(left_out)
    version = f" ({checked.version})" if checked.version else ""
    head = f"{thing.kind} {thing.name}{version}: {run - len(fails)} of {run} behaviours hold"
    more = f", {len(left_out)} left out" if left_out else ""
    yield f"{head}{more}  [{checked.contract}, plugin {thing.plugin}]"
    if verbose:
        yield from (
            f"  holds     {each.name}, {each.seconds:.2f} s" for each in checked.having("holds")
        )
    reasons: dict[str, list[str]] = {}
    for each in left_out:
        reasons.setdefault(each.reason, []).append(each.name)
    for reason, names in reasons.items():
        few = len(names) == 1 or verbose
        yield f"  left out  {', '.join(names) if few else f'{len(names)} behaviours'}: {reason}"
    for each in fails:
        yield f"  fails     {each.name}: {each.reason}"
        if verbose:
            yield from (f"            | {line}" for line in each.details.splitlines())


def _summary(done: Sequence[Checked], unbuilt: Mapping[str, M3edaError]) -> Iterator[str]:
    """A last line where there were several things."""
    failed = [f"{c.thing.kind} {c.thing.name}" for c in done if c.having("fails")] + [*unbuilt]
    if failed and len(done) + len(unbuilt) > 1:
        yield f"not as it should be: {', '.join(failed)}"
    elif len(done) > 1:
        yield f"all {len(done)} are as they should be"


def _document(
    done: Sequence[Checked], unbuilt: Mapping[str, M3edaError], code: ExitCode
) -> dict[str, Any]:
    return {
        "checked": [
            {
                "kind": checked.thing.kind,
                "name": checked.thing.name,
                "plugin": checked.thing.plugin,
                "contract": checked.contract,
                "version": checked.version,
                "holds": len(checked.having("holds")),
                "fails": len(checked.having("fails")),
                "left_out": len(checked.having("left out")),
                "behaviours": [
                    {
                        "name": each.name,
                        "state": each.state,
                        "reason": each.reason,
                        "seconds": round(each.seconds, 3),
                    }
                    for each in checked.behaviours
                ],
            }
            for checked in done
        ],
        "unbuilt": {what: str(error) for what, error in unbuilt.items()},
        "exit_code": int(code),
    }
