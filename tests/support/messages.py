"""The texts of the page: those that code and templates use, and the catalogues that translate them.

PYTHONPATH=tests python -m support.messages     writes each cdc/pages/locale/*.po again; what is new is empty
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

from babel.messages.catalog import Catalog
from babel.messages.extract import extract_from_dir
from babel.messages.pofile import read_po, write_po

import cdc.pages
from cdc.admin.explain import PHRASES, Reason
from cdc.config import Config
from cdc.config.rules import event_types
from cdc.language import DEFAULT, LANGUAGES
from cdc.mapping import schema
from cdc.mapping.catalogue import load_catalogue
from cdc.model.endpoint import OPTIONS
from cdc.pages.application import SECTIONS
from cdc.pages.page import NOTICES
from cdc.pages.views.endpoint_form import KINDS

_FOLDER = Path(cdc.pages.__file__).parent
#: Function → which of its arguments are texts.
_KEYWORDS: dict[str, tuple[int, ...] | None] = {
    "_": None,
    "text": None,
    "_text": None,
    "plural": (1, 2),
    "Refused": (2,),
    "number": (2,),
    "parse": (2,),
}
#: Rules that switch on the packaged entities that are off.
_OFFERED = "[entity.accounting_entry]"
_METHODS = [("**.html", "jinja2.ext:babel_extract")]

Message = str | tuple[str, ...]


def used() -> set[Message]:
    """One and many of a plural are a pair."""
    extracted = {message for message in _extracted() if message}
    declared = [(each.label, each.hint, each.group, *each.choices.values()) for each in OPTIONS.values()]
    declared += [(each.title, each.use, *each.steps) for each in KINDS.values()]
    options = {text for texts in declared for text in texts if text}
    reasons = {text for each in Reason for text in (each.sentence, each.step)} | set(PHRASES)
    return reasons | extracted | options | set(NOTICES.values()) | {each.title for each in SECTIONS} | _of_events()


def _of_events() -> set[str]:
    """Return the texts of the packaged rules about events; a user's own rules are shown as written."""
    kinds = [*event_types(Config()), *schema.event_types(load_catalogue(_OFFERED))]
    return {kind.when for kind in kinds} | {kind.title for kind in kinds}


def _extracted() -> Iterator[Message]:
    for path in _FOLDER.rglob("*.py"):
        yield from _of_code(path.read_text(encoding="utf-8"))
    options = {"**.html": {"silent": "false"}}
    found = extract_from_dir(_FOLDER, method_map=_METHODS, options_map=options, keywords=_KEYWORDS)
    for _, _, message, _, _ in found:
        yield message


def _of_code(source: str) -> Iterator[Message]:
    """The texts in calls of the functions above.  Babel's own reading of Python takes ``text[0]`` for a call since
    2.19, and the docstrings that follow for its texts."""
    for call in ast.walk(ast.parse(source)):
        if not isinstance(call, ast.Call):
            continue
        name = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
        if name in _KEYWORDS:
            places = _KEYWORDS[name] or (1,)
            given = [call.args[place - 1] for place in places if place <= len(call.args)]
            texts = [each.value for each in given if isinstance(each, ast.Constant) and isinstance(each.value, str)]
            if len(texts) == len(places):
                yield texts[0] if len(texts) == 1 else tuple(texts)


def catalogue(language: str) -> Catalog:
    with (_FOLDER / "locale" / f"{language}.po").open("rb") as file:
        return read_po(file, locale=language)


def renewed(language: str) -> bytes:
    """The catalogue with exactly the texts in use, in order."""
    known, made = catalogue(language), Catalog(locale=language, charset="utf-8", header_comment="", fuzzy=False)
    for message in sorted(used(), key=str):
        kept = known.get(message if isinstance(message, str) else message[0])
        made.add(message, kept.string if kept else None)
    return po_bytes(made)


def po_bytes(catalogue: Catalog) -> bytes:
    """Return the catalogue's file without headers that change with each writing."""
    buffer = BytesIO()
    write_po(buffer, catalogue, omit_header=False, width=120, sort_output=True, no_location=True)
    lines = buffer.getvalue().splitlines(keepends=True)
    return b"".join(
        line
        for line in lines
        if not line.startswith(
            (b'"POT-', b'"PO-', b'"Generated', b'"Report', b'"Last-', b'"Project', b'"Language-Team')
        )
    )


if __name__ == "__main__":
    for code in LANGUAGES:
        if code != DEFAULT:
            (_FOLDER / "locale" / f"{code}.po").write_bytes(renewed(code))
