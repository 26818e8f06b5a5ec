"""YAML with places: every key and value keeps its file, line and column.

PyYAML's safe composer reads the file into nodes; no tag is ever constructed. All scalars stay text,
so that `1e6`, `010` and `12:30` reach the number parser as they were written.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from m3eda.errors import DesignError, Mistake

MAX_NODES = 100_000
"""More than any design needs: stops aliases that multiply each other."""
MAX_DEPTH = 50

_PLAIN_TAGS = frozenset(
    f"tag:yaml.org,2002:{name}"
    for name in ("str", "int", "float", "bool", "null", "timestamp", "value", "merge", "map", "seq")
)
_MERGE = "tag:yaml.org,2002:merge"
_NULL = "tag:yaml.org,2002:null"

KeyPath = tuple[str | int, ...]


@dataclass(frozen=True)
class Place:
    """Where something stands. 1-based."""

    file: Path
    line: int
    column: int


class Text(str):
    """A scalar as written. `quoted` tells a string in quotes; `lead` is the number of characters
    before its first one, or None where columns inside it cannot be told."""

    quoted: bool = False
    lead: int | None = 0

    @classmethod
    def of(cls, node: yaml.ScalarNode) -> Text:
        text = cls(node.value)
        text.quoted = node.style in ("'", '"')
        width = node.end_mark.column - node.start_mark.column
        same_line = node.end_mark.line == node.start_mark.line
        lead = 1 if text.quoted else 0
        text.lead = lead if same_line and width == len(node.value) + 2 * lead else None
        return text


@dataclass
class Document:
    """The merged content of a file and of those it extends.

    `data` holds dicts, lists, `Text` and None. `keys` and `values` give the place of each key and
    value by its path.
    """

    path: Path
    data: dict[str, Any]
    keys: dict[KeyPath, Place] = field(default_factory=dict)
    values: dict[KeyPath, Place] = field(default_factory=dict)
    sources: list[Path] = field(default_factory=list)
    """Every file read, absolute."""

    def at(self, path: KeyPath) -> Any:
        """The value at `path`, None where there is none."""
        here: Any = self.data
        for step in path:
            try:
                here = here[step]
            except (KeyError, IndexError, TypeError):
                return None
        return here

    def place(self, path: KeyPath, of_key: bool = False) -> Place:
        """The place of the value (or key) at `path`, or of the nearest thing around it."""
        for length in range(len(path), 0, -1):
            wanted = self.keys if of_key and length == len(path) else self.values
            if path[:length] in wanted:
                return wanted[path[:length]]
        return self.values.get((), Place(self.path, 1, 1))


def read_yaml(path: Path) -> Document:
    """Read the mapping in `path` alone. Raises DesignError."""
    text = _read(path)
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        _check_depth(yaml.parse(text, Loader=loader), path)
        root = yaml.compose(text, Loader=loader)
    except yaml.MarkedYAMLError as error:
        raise DesignError([_syntax_mistake(error, path, text)]) from error
    except yaml.reader.ReaderError as error:
        raise DesignError([_reader_mistake(error, path, text)]) from error
    if root is None:
        raise DesignError([Mistake("is empty", path, 1, 1, hint="begin with `m3eda: 1`")])
    if not isinstance(root, yaml.MappingNode):
        raise DesignError([Mistake("is not a mapping of keys", path, 1, 1, hint="`key: value`")])
    return _Builder(path, text).document(root)


def nearest(word: str, known: Iterable[str]) -> str:
    """The known word most like `word` as a hint, "" where none is."""
    words = list(dict.fromkeys(map(str, known)))
    lowered = {name.lower(): name for name in words}
    cutoff = 0.6 if len(str(word)) > 3 else 0.5
    found = difflib.get_close_matches(str(word).lower(), lowered, 1, cutoff)
    return f"did you mean {lowered[found[0]]}?" if found else ""


def _read(path: Path) -> str:
    try:
        return path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        reason = error.strerror or str(error)
        raise DesignError([Mistake(f"cannot be read: {reason}", path)]) from error
    except UnicodeDecodeError as error:
        line = path.read_bytes()[: error.start].count(b"\n") + 1
        raise DesignError([Mistake("is not UTF-8 text", path, line)]) from error


def _check_depth(events: Iterable[yaml.Event], path: Path) -> None:
    """Raise DesignError where nesting would overrun the stack of the composer, which recurses."""
    depth = 0
    for event in events:
        depth += isinstance(event, yaml.CollectionStartEvent)
        depth -= isinstance(event, yaml.CollectionEndEvent)
        if depth > MAX_DEPTH:
            line = event.start_mark.line + 1 if event.start_mark else 1
            raise DesignError([Mistake("is nested too deeply", path, line)])


def _syntax_mistake(error: yaml.MarkedYAMLError, path: Path, text: str) -> Mistake:
    mark = error.problem_mark or error.context_mark
    line, column = (mark.line + 1, mark.column + 1) if mark else (1, 1)
    lines = text.splitlines()
    here = lines[line - 1] if line <= len(lines) else ""
    indent = here[: len(here) - len(here.lstrip())]
    if "\t" in indent or here[column - 1 : column] == "\t":
        column = here.index("\t") + 1
        return Mistake("a tab, which YAML does not allow here", path, line, column,
                       hint="indent with spaces")  # fmt: skip
    problem = " ".join(str(error.problem or error.context or "cannot be read").split())
    context = f"{error.context}, " if error.context and error.problem else ""
    unquoted = "flow" in context or here[column - 1 : column] in ("@", "`", "%")
    hint = "values with @ [ ] { } or : go in quotes" if unquoted else ""
    return Mistake(f"not valid YAML: {context}{problem}", path, line, column, hint=hint)


def _reader_mistake(error: yaml.reader.ReaderError, path: Path, text: str) -> Mistake:
    position = next((i for i, c in enumerate(text) if c < " " and c not in "\t\n\r"), 0)
    line = text.count("\n", 0, position) + 1
    column = position - text.rfind("\n", 0, position)
    return Mistake(f"not valid YAML: {error.reason}", path, line, column)


class _Builder:
    """Nodes -> data with places. Collects mistakes, and raises them all at the end."""

    def __init__(self, path: Path, text: str) -> None:
        self.path = path
        self.text = text
        self.result = Document(path, {}, sources=[path.resolve()])
        self.mistakes: list[Mistake] = []
        self.count = 0

    def document(self, root: yaml.MappingNode) -> Document:
        data = self._build(root, (), ())
        if self.mistakes:
            raise DesignError(self.mistakes)
        self.result.data = data
        return self.result

    def _place(self, node: yaml.Node) -> Place:
        return Place(self.path, node.start_mark.line + 1, node.start_mark.column + 1)

    def _mistake(self, node: yaml.Node, message: str, path: KeyPath, hint: str = "") -> None:
        place = self._place(node)
        key = ".".join(map(str, path))
        mistake = Mistake(message, self.path, place.line, place.column, key, hint)
        if mistake not in self.mistakes:
            self.mistakes.append(mistake)

    def _build(self, node: yaml.Node, path: KeyPath, outer: tuple[int, ...]) -> Any:
        self.count += 1
        if id(node) in outer or self.count > MAX_NODES or len(outer) > MAX_DEPTH:
            message = "an alias inside itself" if id(node) in outer else "too many values"
            place = self._place(node)
            raise DesignError([Mistake(message, self.path, place.line, place.column)])
        if node.tag not in _PLAIN_TAGS:
            self._mistake(node, f"the tag {node.tag} is not used here", path, "write plain values")
        self.result.values[path] = self._place(node)
        inner = (*outer, id(node))
        if isinstance(node, yaml.MappingNode):
            pairs = self._pairs(node, path, inner).items()
            return {key: self._build(value, (*path, key), inner) for key, value in pairs}
        if isinstance(node, yaml.SequenceNode):
            return [self._build(n, (*path, i), inner) for i, n in enumerate(node.value)]
        assert isinstance(node, yaml.ScalarNode)
        return None if node.tag == _NULL else Text.of(node)

    def _pairs(
        self, node: yaml.MappingNode, path: KeyPath, outer: tuple[int, ...]
    ) -> dict[str, yaml.Node]:
        """The keys of a mapping, `<<` merged in below its own; notes doubled ones."""
        own: dict[str, yaml.Node] = {}
        merged: dict[str, yaml.Node] = {}
        lines: dict[str, int] = {}
        for key_node, value in sorted(self._joined(node), key=lambda pair: pair[0].tag != _MERGE):
            if key_node.tag == _MERGE:
                merged = {**self._merged(value, path, outer), **merged}
                continue
            if not isinstance(key_node, yaml.ScalarNode):
                self._mistake(key_node, "a key must be a word", path)
                continue
            key, whole = key_node.value, (*path, key_node.value)
            if key in own:
                self._mistake(key_node, f"the key is given twice, first on line {lines[key]}",
                              whole, "remove one of them")  # fmt: skip
            own[key] = value
            lines.setdefault(key, key_node.start_mark.line + 1)
            self.result.keys[whole] = self._place(key_node)
        return {**merged, **own}

    def _joined(self, node: yaml.MappingNode) -> list[tuple[yaml.Node, yaml.Node]]:
        """The pairs of a mapping, `{expr: f(a, b)}` with its expression in one piece.

        In braces YAML ends a plain value at a comma and takes `b)` for a key without a value; as
        no value with an open parenthesis means anything, it goes on until the parenthesis closes.
        """
        joined: list[tuple[yaml.Node, yaml.Node]] = []
        for key, value in node.value if node.flow_style else ():
            last = joined[-1][1] if joined else None
            if _is_open(last) and _is_plain(key) and value.tag == _NULL and value.value == "":
                assert last is not None
                piece = self.text[last.start_mark.index : key.end_mark.index]
                whole = yaml.ScalarNode(last.tag, " ".join(piece.split()), last.start_mark,
                                        key.end_mark)  # fmt: skip
                joined[-1] = joined[-1][0], whole
            else:
                joined.append((key, value))
        return joined if node.flow_style else node.value

    def _merged(
        self, node: yaml.Node, path: KeyPath, outer: tuple[int, ...]
    ) -> dict[str, yaml.Node]:
        nodes = node.value if isinstance(node, yaml.SequenceNode) else [node]
        found: dict[str, yaml.Node] = {}
        for each in nodes:
            if not isinstance(each, yaml.MappingNode) or id(each) in outer:
                self._mistake(each, "`<<` merges mappings only", path)
                continue
            found = {**self._pairs(each, path, (*outer, id(each))), **found}
        return found


def _is_plain(node: yaml.Node | None) -> bool:
    return isinstance(node, yaml.ScalarNode) and node.style in (None, "")


def _is_open(node: yaml.Node | None) -> bool:
    """True for a plain scalar with a parenthesis that does not close."""
    if node is None or not _is_plain(node):
        return False
    return str(node.value).count("(") > str(node.value).count(")")
