"""Words of the other language in a text: what is half translated."""

from __future__ import annotations

import re

#: Words that no sentence does without, and that the other language does not have.
_WORDS = {
    "en": "the of and is are was to with for from this that not its it been which when an by cannot does there than",
    "es": "el la los las un una de del que para con por sin se su sus está y al lo como cada",
}
_OTHER = {"en": "es", "es": "en"}
#: What is the same in each language: quoted words, commands with their options, SQL, addresses, names in capitals.
_NOT_PROSE = re.compile(
    r"`[^`]*`|«[^»]*»|\"[^\"]*\"|'[^']*'|\[[^\]]*\]|\S*[=:/@_{}()|<>*]\S*|--?[a-z][\w-]*|\bcdc [a-z-]+"
    r"|\b[A-Z]{2,}\w*|nats stream.*"
)


def foreign_words(text: str, language: str) -> list[str]:
    """Return the function words of the other language in a text."""
    words = re.findall(r"\b[^\W\d_]+\b", _NOT_PROSE.sub(" ", text).lower())
    return [word for word in words if word in _WORDS[_OTHER[language]].split()]
