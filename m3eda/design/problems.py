"""Collects every mistake of a design file at its place, and goes on behind each."""

from __future__ import annotations

import re
import types
import typing
from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from m3eda.design.expressions import Expression, ExpressionError
from m3eda.design.functions import FunctionTable
from m3eda.design.yamlfile import Document, KeyPath, Text, nearest
from m3eda.errors import DesignError, Mistake

_WORD = re.compile(r"[A-Za-z]\w*")

Model = TypeVar("Model", bound=BaseModel)

NAMED_SECTIONS = ("testbenches", "parameters", "measures", "specs", "conditions")
"""Sections of named entries: a mistake in one entry leaves the others to be checked."""

_MESSAGES = {
    "missing": "is missing",
    "dict_type": "must be a mapping of names",
    "list_type": "must be a list",
    "string_pattern_mismatch": "is not a name: letters, digits and _ after a first letter",
}


class Problems:
    """The mistakes of one document, and the entries that a mistake has left unknown."""

    def __init__(self, document: Document) -> None:
        self.document = document
        self.mistakes: list[Mistake] = []
        self.broken: set[KeyPath] = set()
        """Paths of sections and entries taken out because of a mistake in them."""
        self.trimmed: set[KeyPath] = set()
        """Paths of entries that lost a key because of a mistake in it: what they then lack is no
        mistake of its own."""
        self.mentioned: set[str] = set()
        """Every word in what could not be read: it may have been a use of that name."""

    def add(
        self, path: KeyPath, message: str, hint: str = "", *, of_key: bool = False, shift: int = 0
    ) -> None:
        """Note a mistake at the value (or key) at `path`, `shift` characters into it."""
        place = self.document.place(path, of_key)
        key = ".".join(map(str, path))
        mistake = Mistake(message, place.file, place.line, place.column + shift, key, hint)
        if mistake not in self.mistakes:
            self.mistakes.append(mistake)

    def extend(self, mistakes: Iterable[Mistake]) -> None:
        """Note mistakes found elsewhere (in a template, in a technology)."""
        self.mistakes += [mistake for mistake in mistakes if mistake not in self.mistakes]

    def is_broken(self, section: str, name: str = "") -> bool:
        """True where `section`, or `name` in it, was written but could not be read."""
        return (section,) in self.broken or (section, name) in self.broken

    def names(self, section: str) -> list[str]:
        """The names written under `section`, for hints."""
        broken = [str(path[1]) for path in self.broken if path[0] == section and len(path) == 2]
        return [*(self.document.at((section,)) or ()), *broken]

    def raise_all(self) -> None:
        """Raise DesignError with every mistake, sorted by place; the design file's first."""
        if not self.mistakes:
            return
        main = self.document.path

        def order(mistake: Mistake) -> tuple[bool, str, int, int]:
            return (mistake.file != main, str(mistake.file), mistake.line or 0, mistake.column or 0)

        raise DesignError(sorted(self.mistakes, key=order))

    def expression(self, path: KeyPath, functions: FunctionTable) -> Expression | None:
        """The expression at `path`, parsed; where it is wrong, None and a mistake noted."""
        text = self.document.at(path)
        try:
            return Expression.parse(str(text), functions)
        except ExpressionError as error:
            self.add(path, str(error), error.hint, shift=self.shift(path, error.column))
            self.mentioned.update(_WORD.findall(str(text)))
            return None

    def shift(self, path: KeyPath, column: int | None) -> int:
        """How far column `column` of the text at `path` lies from where the value begins."""
        text = self.document.at(path)
        lead = text.lead if isinstance(text, Text) else None
        return 0 if lead is None or column is None else lead + column

    def validated(self, model: type[Model]) -> Model:
        """The document as `model`, without the entries that are wrong.

        Raises DesignError where `model` cannot be without one of them.
        """
        for _ in range(len(self.document.values) + 1):
            try:
                return model.model_validate(self.document.data)
            except ValidationError as error:
                before = len(self.mistakes)
                for each in error.errors(include_url=False):
                    self._note(model, each)
                if len(self.mistakes) == before:
                    self.raise_all()  # what is missing cannot be taken out
        raise AssertionError("every mistake takes an entry out")

    def _note(self, model: type[BaseModel], error: Mapping[str, Any]) -> None:
        kind, location = error["type"], error["loc"]
        is_key = location[-1] == "[key]" or kind == "extra_forbidden"
        path = self._path(location)
        message, hint = _text(error, self.document.at(path))
        if kind == "extra_forbidden":
            hint = nearest(str(path[-1]), _keys_at(model, location[:-1]))
            self.add(path, "is not a known key", hint or _listed(_keys_at(model, location[:-1])),
                     of_key=True)  # fmt: skip
            self.trimmed.add(path[:-1])
            self._remove(path)
            return
        if kind == "missing":
            path = (*path, str(location[-1])) if self.document.at(path) is not None else path
            if path[:1] in self.broken:
                return
        elif kind in ("model_type", "model_attributes_type"):
            hint = _listed(_keys_at(model, location))
        elif kind == "literal_error" and not hint:
            value = str(self.document.at(path))
            hint = nearest(
                value, str(error["ctx"]["expected"]).replace("'", "").replace(",", "").split()
            )
        self.add(path, message, hint, of_key=is_key)
        entry = path[:2] if path[0] in NAMED_SECTIONS else path[:1]
        self.broken.add(entry)
        self.trimmed.add(entry)
        inside = len(path) > len(entry) and kind != "missing"
        holder_is_dict = isinstance(self.document.at(entry), dict)
        self._remove(path[: len(entry) + 1] if inside and holder_is_dict else entry)

    def _path(self, location: tuple[str | int, ...]) -> KeyPath:
        """pydantic's location as a path of the file, which lacks the models' own levels."""
        path: KeyPath = ()
        for step in location:
            if self.document.at((*path, step)) is not None or (*path, step) in self.document.values:
                path = (*path, step)
        return path or (str(location[0]),)

    def _remove(self, path: KeyPath) -> None:
        holder = self.document.at(path[:-1])
        self.mentioned.update(_WORD.findall(str(self.document.at(path))))
        if isinstance(holder, dict):
            holder.pop(str(path[-1]), None)
        elif path[0] in self.document.data:
            del self.document.data[str(path[0])]


def _text(error: Mapping[str, Any], written: Any) -> tuple[str, str]:
    """Message and hint of one pydantic error on what was `written`, in a data sheet's words."""
    kind = error["type"]
    if kind == "value_error":
        cause = error["ctx"]["error"]
        return str(cause), getattr(cause, "hint", "")
    if kind in ("model_type", "model_attributes_type"):
        return "must be a mapping of keys", ""
    known = _MESSAGES.get(kind)
    if known:
        return known, ""
    message = str(error["msg"]).replace("Input should be", "must be")
    return f"'{written}' {message}" if isinstance(written, str) else message, ""


def _listed(words: Iterable[str]) -> str:
    return f"known: {', '.join(words)}" if words else ""


def _keys_at(model: type[BaseModel], location: tuple[str | int, ...]) -> list[str]:
    """The keys of the model at pydantic's `location`."""
    here: Any = model
    for step in location:
        here = _model_of(here)
        if isinstance(here, type) and issubclass(here, BaseModel):
            fields = {field.alias or name: field for name, field in here.model_fields.items()}
            here = fields[str(step)].annotation if step in fields else None
        else:
            here = typing.get_args(here)[-1] if typing.get_args(here) else None
    here = _model_of(here)
    if not (isinstance(here, type) and issubclass(here, BaseModel)):
        return []
    return [field.alias or name for name, field in here.model_fields.items()]


def _model_of(annotation: Any) -> Any:
    """`annotation` without Annotated and without None."""
    origin = typing.get_origin(annotation)
    if origin is typing.Annotated:
        return _model_of(typing.get_args(annotation)[0])
    if origin in (typing.Union, types.UnionType):
        rest = [each for each in typing.get_args(annotation) if each is not type(None)]
        return _model_of(rest[0])
    return annotation
