"""What FacturaScripts calls its tables: the classes of its models, ``models.tsv``, read; its API, their plurals."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from types import MappingProxyType

_WORD = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")


@cache
def models() -> Mapping[str, str]:
    """Table → class, of FacturaScripts itself: plugins' classes are not known."""
    text = (files("cdc.facturascripts") / "models.tsv").read_text(encoding="utf-8")
    pairs = (line.split("\t") for line in text.splitlines())
    return MappingProxyType({table: model for model, table in pairs})


@cache
def model_names() -> Mapping[str, str]:
    """Table → its class as the name of an entity: ``facturascli`` → ``factura_cliente``."""
    return MappingProxyType({table: _WORD.sub("_", model).lower() for table, model in models().items()})


@cache
def resources() -> Mapping[str, str]:
    """Table → its resource in the API v3: ``facturascli`` → ``facturaclientes``."""
    return MappingProxyType({table: plural(model) for table, model in models().items()})


def plural(model: str) -> str:
    """The resource of a class, by FacturaScripts' own rule."""
    name = model.lower()
    if name.endswith("s"):
        return name
    return f"{name}s" if name.endswith(("ser", "tion")) or name[-1] in "aeiouk" else f"{name}es"
