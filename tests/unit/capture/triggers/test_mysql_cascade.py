"""Which paths foreign keys take."""

from __future__ import annotations

from cdc.capture.triggers.mysql_render import DEEPEST, MOST_PATHS, Effect, delete_paths, update_paths
from cdc.capture.triggers.mysql_state import ForeignKey, by_parent


def key(
    table: str, parent: str, on_delete: str = "CASCADE", on_update: str = "CASCADE", column: str = ""
) -> ForeignKey:
    return ForeignKey(f"{table}_{parent}", table, (column or f"id{parent}",), parent, ("id",), on_delete, on_update)


KEYS = [
    key("product", "family", "SET NULL"),
    key("variant", "product"),
    key("stock", "variant"),
    key("stock", "product"),
    key("line", "product", "RESTRICT"),
]


def told(parent: str, captured: set[str]) -> list[tuple[str, Effect]]:
    return [
        ("/".join(k.table for k in path.keys), path.effect) for path in delete_paths(parent, by_parent(KEYS), captured)
    ]


def test_deletes_go_down_and_nulls_end() -> None:
    assert told("product", {"variant", "stock", "line"}) == [
        ("variant", Effect.DELETED),
        ("stock", Effect.DELETED),
        ("variant/stock", Effect.DELETED),
    ]
    assert told("family", {"product", "stock"}) == [("product", Effect.NULLED)]
    assert told("product", {"line"}) == []


def test_updates_go_on_only_where_the_changed_column_is_referenced() -> None:
    keys = [key("child", "parent", column="id"), key("grandchild", "child"), key("other", "parent")]
    paths = update_paths("parent", by_parent(keys), {"child", "grandchild", "other"})
    assert [[k.table for k in path.keys] for path in paths] == [["child"], ["child", "grandchild"], ["other"]]
    keys[0] = key("child", "parent")
    assert [path.table for path in update_paths("parent", by_parent(keys), {"grandchild"})] == []


def test_cycles_end() -> None:
    tree = [key("node", "node", column="mother")]
    assert [len(path.keys) for path in delete_paths("node", by_parent(tree), {"node"})] == list(range(1, DEEPEST + 1))
    assert len(update_paths("node", by_parent(tree), {"node"})) == 1
    wide = [ForeignKey(f"k{n}", "node", (f"m{n}",), "node", ("id",), "CASCADE", "CASCADE") for n in range(4)]
    assert len(delete_paths("node", by_parent(wide), {"node"})) == MOST_PATHS
