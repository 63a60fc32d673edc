"""``CDC_<SECTION>_<OPTION>`` and ``CDC_SOURCE_<NAME>_<OPTION>`` in the environment."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches

from cdc.model.errors import ConfigError

PREFIX = "CDC_"
#: Says where the file is, and is no option in it.
WHICH_FILE = "CDC_CONFIG"
#: Kubernetes sets these for every service, and one may well be called ``cdc-web``.
_KUBERNETES = re.compile(r".*_(SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT(_\d+_(TCP|UDP)(_\w+)?)?)\Z")

Options = Mapping[str, Collection[str]]  # section → its options; the section "source" has those of each source


@dataclass(frozen=True, slots=True)
class Variable:
    """One variable of ours: its name, the option that it sets, and its text."""

    name: str
    path: tuple[str, ...]
    value: str


def read_variables(environment: Mapping[str, str], options: Options, sources: Collection[str]) -> list[Variable]:
    """Our variables, by name.  ``sources``: those that the file has.  An empty variable counts as not set."""
    return [
        Variable(name, path, value)
        for name, value in sorted(environment.items())
        if value and name.startswith(PREFIX) and name != WHICH_FILE
        for path in _paths(name, options, sources)
    ]


def variable_name(path: tuple[str, ...]) -> str:
    """The variable that sets the option at ``path``."""
    return PREFIX + "_".join(path).upper().replace("-", "_")


def _paths(name: str, options: Options, sources: Collection[str]) -> Iterator[tuple[str, ...]]:
    """The option that ``name`` sets, if it is one of ours at all.  Raises `ConfigError` for a misspelt one."""
    section, _, rest = name.removeprefix(PREFIX).partition("_")
    section = section.lower()
    if section not in options:
        near = get_close_matches(section, options, n=1, cutoff=0.8)
        if near and rest and not _KUBERNETES.match(name):
            raise ConfigError(
                f"The environment variable {name} sets nothing.", f"Did you mean CDC_{near[0].upper()}_…?"
            )
        return
    path = _source_path(rest, options["source"], sources) if section == "source" else (section, rest.lower())
    if path is not None and (section == "source" or path[-1] in options[section]):
        yield path
    elif not _KUBERNETES.match(name):
        raise ConfigError(f"The environment variable {name} sets nothing.", _suggestion(name, section, options))


def _source_path(rest: str, options: Collection[str], sources: Collection[str]) -> tuple[str, ...] | None:
    """``MAIN_ADMIN_URL`` → the source ``main``, option ``admin_url``: a source that the file has wins, then the longest
    option.  ``MAIN_REST_URL`` → option ``url`` of its table ``rest``."""
    splits = [
        (rest.removesuffix(f"_{_spelt(option)}"), option)
        for option in sorted(options, key=len, reverse=True)
        if rest.endswith(f"_{_spelt(option)}") and len(rest) > len(option) + 1
    ]
    spelt = {_spelt(source): source for source in sources}
    for name, option in splits:
        if name in spelt:
            return ("source", spelt[name], *option.split("."))
    return ("source", splits[0][0].lower(), *splits[0][1].split(".")) if splits else None


def _spelt(name: str) -> str:
    return name.upper().replace("-", "_").replace(".", "_")


def _suggestion(name: str, section: str, options: Options) -> str:
    middle = "<NAME>_" if section == "source" else ""
    known = [f"{PREFIX}{section.upper()}_{middle}{_spelt(option)}" for option in sorted(options[section])]
    near = get_close_matches(name, known, n=1, cutoff=0.6)
    return f"Did you mean {near[0]}?" if near else f"Known: {', '.join(known)}."
