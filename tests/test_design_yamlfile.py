"""YAML with places, and what is wrong with it."""

from __future__ import annotations

import pytest

from m3eda.design.yamlfile import MAX_DEPTH, Place, nearest, read_yaml
from m3eda.errors import DesignError


@pytest.fixture
def read(tmp_path):
    path = tmp_path / "design.yaml"

    def reader(content):
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return read_yaml(path)

    return reader


@pytest.fixture
def wrong(read, tmp_path):
    """What is wrong with a text, one line a mistake."""

    def mistakes(content):
        with pytest.raises(DesignError) as caught:
            read(content)
        return [str(m).replace(f"{tmp_path}/", "") for m in caught.value.mistakes]

    return mistakes


def test_numbers_stay_as_they_are_written(read):
    text = "a: 1e6\nb: 010\nc: 12:30\nd: 0x1F\ne: off\nf: 2024-01-01\n"
    assert list(read(text).data.values()) == ["1e6", "010", "12:30", "0x1F", "off", "2024-01-01"]


def test_every_key_and_value_has_its_place(read):
    document = read("a: 1\nb:\n  c: [x, yy]\n")
    assert document.keys["b", "c"] == Place(document.path, 3, 3)
    assert document.place(("b", "c", 1)) == Place(document.path, 3, 10)
    assert document.place(("b", "c"), of_key=True) == Place(document.path, 3, 3)


def test_what_is_not_there_is_placed_at_what_is_around_it(read):
    document = read("a: 1\nb:\n  c: 2\n")
    assert document.place(("b", "gone")) == Place(document.path, 3, 3)
    assert document.place(("gone",)) == Place(document.path, 1, 1)


def test_anchors_and_merge_keys(read):
    document = read("x: &x {p: 1, q: 2}\ny: {q: 3, <<: *x}\nz: *x\n")
    assert document.data["y"] == {"p": "1", "q": "3"}
    assert document.data["z"] == {"p": "1", "q": "2"}
    assert document.keys["y", "q"].line == 2


def test_quotes_are_remembered(read):
    data = read("a: '10'\nb: 10\n").data
    assert (data["a"].quoted, data["b"].quoted) == (True, False)


def test_a_byte_order_mark_and_windows_line_ends(read):
    assert read(b"\xef\xbb\xbfa: 1\r\nb: 2\r\n").data == {"a": "1", "b": "2"}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("{expr: f(a, b), unit: V}", {"expr": "f(a, b)", "unit": "V"}),
        ("{expr: 'f(a', b: 1}", {"expr": "f(a", "b": "1"}),
        ("{expr: f(a, b: 1}", {"expr": "f(a", "b": "1"}),
        ("{expr: f(g(a, b), c)}", {"expr": "f(g(a, b), c)"}),
    ],
)
def test_commas_inside_parentheses_do_not_end_a_value(read, text, value):
    assert read(f"# µΩ\nm: {text}").data["m"] == value


@pytest.mark.parametrize("text", ["", "\n\n", "# nothing but a comment\n", "---\n"])
def test_an_empty_file(wrong, text):
    if text == "---\n":
        assert wrong(text) == ["design.yaml:1:1: is not a mapping of keys (`key: value`)"]
    else:
        assert wrong(text) == ["design.yaml:1:1: is empty (begin with `m3eda: 1`)"]


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("a:\n\tb: 1\n", "2:1: a tab, which YAML does not allow here (indent with spaces)"),
        (
            "a:\n  b: 1\n \tc: 2\n",
            "3:2: a tab, which YAML does not allow here (indent with spaces)",
        ),
    ],
)
def test_tabs(wrong, text, line):
    assert wrong(text) == [f"design.yaml:{line}"]


def test_all_doubled_keys_at_once(wrong):
    assert wrong("a: 1\nb: {c: 1, d: 2, c: 3}\na: 2\n") == [
        "design.yaml:3:1: a: the key is given twice, first on line 1 (remove one of them)",
        "design.yaml:2:17: b.c: the key is given twice, first on line 2 (remove one of them)",
    ]


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("a: [1, 2\nb: 3\n", "not valid YAML: while parsing a flow sequence"),
        ("a: @m1[gm]\n", "1:4: not valid YAML"),
        ("a: 'x\n", "not valid YAML: while scanning a quoted scalar"),
        ("a: 1\n---\nb: 2\n", "2:1: not valid YAML: expected a single document"),
        ("a: \x01\n", "1:4: not valid YAML: "),
        ("- 1\n", "1:1: is not a mapping of keys"),
        ("? [1]\n: 2\n", "1:3: a key must be a word"),
        ("a: &a [*a]\n", "1:4: an alias inside itself"),
        ("a: *b\n", "1:4: not valid YAML: found undefined alias"),
        ("<<: 3\na: 1\n", "1:5: `<<` merges mappings only"),
        (b"a: 1\nb: \xff\n", "2: is not UTF-8 text"),
    ],
)
def test_what_is_not_yaml_has_its_place(wrong, text, line):
    assert line in wrong(text)[0]


def test_a_value_that_needs_quotes_is_told_so(wrong):
    assert wrong("a: @m1[gm]\n")[0].endswith("(values with @ [ ] { } or : go in quotes)")


def test_tags_are_refused_and_never_built(wrong, tmp_path):
    target = tmp_path / "made"
    assert "is not used here" in wrong(f"a: !!python/object/apply:os.mkdir ['{target}']\n")[0]
    assert not target.exists()


@pytest.mark.parametrize("depth", [MAX_DEPTH + 1, 100_000])
def test_nesting_without_end(wrong, depth):
    assert wrong(f"a: {'[' * depth}{']' * depth}\n") == ["design.yaml:1: is nested too deeply"]


def test_aliases_that_multiply(wrong):
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 9)]
    assert wrong("\n".join(lines))[0].endswith("too many values")


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(DesignError, match=r"gone\.yaml: cannot be read: No such file"):
        read_yaml(tmp_path / "gone.yaml")


def test_a_folder_in_place_of_a_file(tmp_path):
    with pytest.raises(DesignError, match="cannot be read: Is a directory"):
        read_yaml(tmp_path)


@pytest.mark.parametrize(
    ("word", "hint"),
    [("masures", "did you mean measures?"), ("SPECS", "did you mean specs?"), ("zzz", "")],
)
def test_the_nearest_word(word, hint):
    assert nearest(word, ["measures", "specs", "parameters"]) == hint
