"""The lines of keys, in every shape that TOML has for them."""

from __future__ import annotations

import pytest

from cdc.model.toml_lines import TomlLines, TomlPath


def test_tables_and_keys_by_their_full_path() -> None:
    text = '# c\n[a.b]\nx = """\n[no]\ny = 1\n"""\n\n"q.r" = [\n 1,\n 2]\ns.t = {u = 1}\n'
    assert TomlLines(text).lines == {
        ("a",): 2, ("a", "b"): 2, ("a", "b", "x"): 3, ("a", "b", "q.r"): 8,
        ("a", "b", "s"): 11, ("a", "b", "s", "t"): 11, ("a", "b", "s", "t", "u"): 11,
    }  # fmt: skip


def test_tables_of_arrays_are_counted() -> None:
    text = "[[e]]\nn = 1\n[e.to]\np = 1\n[[e]]\n[e.to]\np = 2\n[[e.in]]\n[[e.in]]\nz = 1\n"
    assert TomlLines(text).lines == {
        ("e",): 1, ("e", 0): 1, ("e", 0, "n"): 2, ("e", 0, "to"): 3, ("e", 0, "to", "p"): 4,
        ("e", 1): 5, ("e", 1, "to"): 6, ("e", 1, "to", "p"): 7,
        ("e", 1, "in"): 8, ("e", 1, "in", 0): 8, ("e", 1, "in", 1): 9, ("e", 1, "in", 1, "z"): 10,
    }  # fmt: skip


def test_the_lines_of_a_section_of_a_larger_file() -> None:
    text = (
        "[source.main]\nurl = 'x'\n[[source.main.rules.event]]\nname = 'a'\n[[source.main.rules.event]]\nname = 'b'\n"
    )
    assert TomlLines(text).of(("source", "main", "rules", "event", 1, "name")) == 6


@pytest.mark.parametrize(
    ("path", "line"),
    [(("a", "x"), 3), (("a", "none"), 2), (("a", "x", 0, "deep"), 3), (("none",), None), ((), None)],
)
def test_of_what_is_not_named_the_nearest_around_it(path: TomlPath, line: int | None) -> None:
    assert TomlLines("\n[a]\nx = 1\n").of(path) == line


@pytest.mark.parametrize(
    ("word", "line"),
    [("one", 3), ("two", 4), ("tw", 1), ("three", 1), ("four", 1)],
    ids=["found", "whole", "a part is not it", "a comment is not it", "of the next key"],
)
def test_a_word_is_looked_for_within_its_value(word: str, line: int) -> None:
    text = "names = [  # three\n\n  'one',\n  'two',\n]\nother = 'four'\n"
    assert TomlLines(text).of_word(("names",), word) == line


def test_a_word_of_nothing_that_is_named_has_no_line() -> None:
    assert TomlLines("a = 1\n").of_word(("b",), "a") is None


def test_only_line_feeds_end_lines() -> None:
    text = "a = '\u2028'  # \u2028\nb = ['\u2028',\n'word']\n"
    assert TomlLines(text).lines == {("a",): 1, ("b",): 2}
    assert TomlLines(text).of_word(("b",), "word") == 3


def test_windows_line_ends_count_once() -> None:
    assert TomlLines("a = 1\r\nb = [\r\n1]\r\n\r\nc = 1\r\n").lines == {("a",): 1, ("b",): 2, ("c",): 5}
