"""The templates a design names: where they lie, and which names they need."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterable
from pathlib import Path

from m3eda.design.problems import Problems
from m3eda.design.yamlfile import KeyPath, nearest
from m3eda.errors import DesignError

TemplateNames = Callable[[Path, tuple[Path, ...]], set[str]]
"""(template, folders that its includes are looked for in) -> the names it needs from outside.
Raises DesignError where it, or an include, cannot be read."""

EVERYTHING = "**"
"""Among a template's names: it takes whatever there is, so which names it uses cannot be told."""


def library_folder() -> Path | None:
    """The circuit library's folder, shipped as package `m3eda_templates`; None where missing."""
    spec = importlib.util.find_spec("m3eda_templates")
    places = spec.submodule_search_locations if spec else None
    return Path(next(iter(places))) if places else None


class Templates:
    """Finds templates beside the file that names them, beside the design, then in the library."""

    def __init__(self, problems: Problems, template_names: TemplateNames | None) -> None:
        self.problems = problems
        self.template_names = template_names
        self.library = library_folder()
        self.complete = template_names is not None
        """False where the names of some template could not be told."""

    def find(self, name: str, path: KeyPath) -> Path | None:
        """The template called `name` at `path`; None, with a mistake noted, where it is not there.

        A bare name is also looked for in each circuit's folder of the library.
        """
        document = self.problems.document
        folders = [document.place(path).file.parent, document.path.parent]
        for folder in dict.fromkeys(folders):
            if (folder / name).is_file():
                return (folder / name).resolve()
        found = self._in_library(name)
        if len(found) == 1:
            return found[0]
        self.complete = False
        if found:
            choices = ", ".join(f"{file.parent.name}/{name}" for file in found)
            self.problems.add(path, f"several templates are called '{name}'", f"write {choices}")
            return None
        beside = [file.name for folder in folders for ending in ("*.cir*", "*.py")
                  for file in folder.glob(ending)]  # fmt: skip
        looked = f"looked in {folders[0].resolve()} and in the circuit library"
        hint = nearest(name, beside) or looked
        self.problems.add(path, f"the template '{name}' is not there", hint)
        return None

    def names(self, template: Path, path: KeyPath) -> set[str]:
        """The names that `template` needs; none, with mistakes noted, where it cannot be read."""
        if self.template_names is None:
            return set()
        beside = self.problems.document.path.resolve().parent
        folders = [template.parent, beside, *([self.library] if self.library else [])]
        try:
            names = self.template_names(template, tuple(dict.fromkeys(folders)))
        except DesignError as error:
            self.complete = False
            self.problems.extend(error.mistakes)
            return set()
        if EVERYTHING in names:
            self.complete = False
        return names - {EVERYTHING}

    def check(self, path: KeyPath, template: Path, needed: Iterable[str], given: set[str]) -> None:
        """Note each name that the template at `path` needs and nobody gives."""
        for name in sorted(set(needed) - given):
            if self.problems.is_broken("parameters", name) or self.problems.is_broken(
                "conditions", name
            ):
                continue
            hint = nearest(name, given) or "give it under parameters or conditions"
            if name == "technology":
                hint = "give technology: a name or a mapping"
            self.problems.add(path, f"{template.name} needs '{name}', which nobody gives", hint)

    def _in_library(self, name: str) -> list[Path]:
        if self.library is None or name.startswith("/"):
            return []
        if (self.library / name).is_file():
            return [(self.library / name).resolve()]
        return [] if "/" in name else sorted(f.resolve() for f in self.library.glob(f"*/{name}"))
