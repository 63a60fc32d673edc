"""Which rules a source goes by."""

from __future__ import annotations

from dataclasses import replace

from cdc.config import Config, SourceConfig
from cdc.mapping.catalogue import Catalogue, load_catalogue


def catalogue(source: SourceConfig) -> Catalogue:
    """The packaged rules with the source's own on top.  Raises `ConfigError` naming file and line."""
    rules = source.rules_text()
    return _with_options(load_catalogue(*rules) if rules else load_catalogue(), source)


def _with_options(rules: Catalogue, source: SourceConfig) -> Catalogue:
    entities = tuple(
        replace(
            entity,
            include=tuple(
                dict.fromkeys([*entity.include, *(kind for kind in source.include if kind in entity.children)])
            ),
        )
        for entity in rules.entities
    )
    return replace(rules, entities=entities, decode_html=rules.decode_html and source.html == "decode")


def catalogues(config: Config) -> list[Catalogue]:
    """One a source; the packaged one when there is no source."""
    return [catalogue(source) for source in config.source.values()] or [load_catalogue()]
