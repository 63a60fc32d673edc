"""Endpoints as a file: planned, applied, applied again, taken over, pruned and exported."""

from __future__ import annotations

import asyncio
import json
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cdc.config import load_config
from cdc.model.endpoint import Endpoint
from cdc.runtime.outboxes import open_outbox

CONFIG = '[source.main]\nurl = "mysql://cdc:hunter2@127.0.0.1:1/fs"\n[dispatch]\nallow_private = true\n'
SECRET = "whsec_MTIzNDU2Nzg5MDEyMzQ1Njc4OTAxMjM0"
OTHER = "whsec_YWJjZGVmZ2hpamtsbW5vcHFyc3R1dnd4"
FILE = """
[endpoint.shop]
url = "http://127.0.0.1:9/shop?key=t0p"
events = ["invoice.*", "receipt.paid"]
secret_file = "shop.secret"
headers = { X-Tenant = "42", Authorization = "env:SHOP_AUTHORIZATION" }
filter = 'data.total > 100.0 && event != "invoice.updated"'
rate = 5
retries = [5, 25.5]

[endpoint.chat]
url = "http://127.0.0.1:9/chat"
events = ["invoice.paid"]
preset = "slack"
language = "es"
"""


@pytest.fixture
def cdc(run_cdc: Callable, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Callable:
    monkeypatch.setenv("SHOP_AUTHORIZATION", "Bearer t0psecret")
    (folder / "cdc.toml").write_text(CONFIG)
    (folder / "shop.secret").write_text(SECRET + "\n")
    (folder / "endpoints.toml").write_text(FILE)

    def call(*arguments: str, **options: Any) -> Any:
        result = run_cdc(*arguments, **options)
        assert not any(each in result.output for each in ("t0psecret", SECRET, OTHER))
        return result

    return call


def stored(folder: Path) -> dict[str, Endpoint]:
    async def read() -> list[Endpoint]:
        outbox = open_outbox(load_config(environment={}, folder=folder))
        await outbox.open()
        try:
            return await outbox.endpoints()
        finally:
            await outbox.close()

    return {each.managed or each.description: each for each in asyncio.run(read())}


def actions(cdc: Callable, *options: str, code: int = 0) -> dict[str, str]:
    steps = json.loads(cdc("apply", "endpoints.toml", "--json", *options, code=code).stdout)["steps"]
    return {step["name"]: step["action"] for step in steps}


def edit(folder: Path, *changes: tuple[str, str]) -> None:
    text = (folder / "endpoints.toml").read_text()
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    (folder / "endpoints.toml").write_text(text)


def test_a_file_is_planned_applied_and_then_changes_nothing(cdc: Callable, folder: Path) -> None:
    assert actions(cdc, "--dry-run", code=1) == {"shop": "create", "chat": "create"}
    assert "no endpoint yet" in cdc("endpoint", "list").stderr
    applied = cdc("apply", "endpoints.toml")
    assert "2 of 2 endpoints changed." in applied.stderr
    assert "chat: secret whsec_" in applied.stdout
    found = stored(folder)
    shop, chat = found["endpoints.toml:shop"], found["endpoints.toml:chat"]
    assert (shop.secret, shop.rate, shop.retry_schedule) == (SECRET, 5.0, (5.0, 25.5))
    assert shop.headers == (("X-Tenant", "42"), ("Authorization", "Bearer t0psecret"))
    assert shop.condition == 'data.total > 100.0 && event != "invoice.updated"'
    assert ("message" in chat.transform, chat.language) == (True, "es")
    assert "managed by endpoints.toml" in " ".join(cdc("endpoint", "show", shop.id).stdout.split())

    audited = cdc("audit", "list", "--json").stdout
    assert actions(cdc, "--dry-run") == {"shop": "none", "chat": "none"}
    assert actions(cdc) == {"shop": "none", "chat": "none"}
    assert stored(folder) == found
    assert cdc("audit", "list", "--json").stdout == audited


def test_a_dry_run_names_what_is_read(cdc: Callable, folder: Path) -> None:
    shop = (
        f"shop reads the header Authorization from the variable SHOP_AUTHORIZATION, "
        f"the signing secret from the file {folder.resolve() / 'shop.secret'}."
    )
    assert shop in " ".join(cdc("apply", "endpoints.toml", "--dry-run", code=1).stdout.split())
    steps = json.loads(cdc("apply", "endpoints.toml", "--dry-run", "--json", code=1).stdout)["steps"]
    assert [len(step["reads"]) for step in steps] == [2, 0]


@pytest.mark.parametrize(
    "place",
    [
        "@/etc/passwd",
        "@../outside.secret",
        "@sub/../../outside.secret",
        "@link.secret",
        "@linked/outside.secret",
        "@/proc/self/environ",
        "env:CDC_SECRET_KEY",
        "env:CDC_SOURCE_MAIN_URL",
    ],
)
@pytest.mark.parametrize("key", ["headers", "secret_file"])
def test_a_file_reads_no_secret_from_outside_its_folder(
    cdc: Callable, folder: Path, monkeypatch: pytest.MonkeyPatch, place: str, key: str
) -> None:
    outside = folder.parent / f"{folder.name}-outside"
    outside.mkdir(exist_ok=True)
    (outside / "outside.secret").write_text("t0psecret")
    (folder.parent / "outside.secret").write_text("t0psecret")
    (folder / "link.secret").symlink_to(outside / "outside.secret")
    (folder / "linked").symlink_to(outside)
    (folder / "sub").mkdir()
    for name in ("CDC_SECRET_KEY", "CDC_SOURCE_MAIN_URL"):
        monkeypatch.setenv(name, "bXl0MHBzZWNyZXRteXQwcHNlY3JldG15dDBwc2VjcmV0")
    monkeypatch.setenv("CDC_SOURCE_MAIN_URL", "mysql://cdc:t0psecret@127.0.0.1:1/fs")
    if key == "headers":
        edit(folder, ('"env:SHOP_AUTHORIZATION"', json.dumps(place)))
    elif place.startswith("@"):
        edit(folder, ('secret_file = "shop.secret"', f"secret_file = {json.dumps(place[1:])}"))
    else:
        edit(folder, ('secret_file = "shop.secret"', f'secret_env = "{place[4:]}"'))
    for options in ((), ("--dry-run",)):
        refused = cdc("apply", "endpoints.toml", *options, code=2).stderr
        assert "is not in" in refused or "one of this program's own" in refused


def test_the_folder_of_secrets_is_configured(cdc: Callable, folder: Path) -> None:
    (folder / "secrets").mkdir()
    (folder / "cdc.toml").write_text(CONFIG + 'secret_folder = "secrets"\n')
    assert "is not in" in cdc("apply", "endpoints.toml", "--dry-run", code=2).stderr
    (folder / "secrets" / "shop.secret").write_text(SECRET)
    edit(folder, ("shop.secret", str(folder / "secrets" / "shop.secret")))
    assert actions(cdc) == {"shop": "create", "chat": "create"}


def test_a_changed_file_changes_what_differs(cdc: Callable, folder: Path) -> None:
    cdc("apply", "endpoints.toml")
    before = stored(folder)["endpoints.toml:shop"]
    cdc("endpoint", "update", before.id, "--description", "by hand")
    edit(folder, ("rate = 5\n", "timeout = 3\nenabled = false\n"), ('X-Tenant = "42", ', ""))
    (folder / "shop.secret").write_text(OTHER)
    planned = cdc("apply", "endpoints.toml", "--dry-run", code=1).stdout
    for part in ("timeout 10.0 → 3.0", "rate 5.0 → 0.0", "headers Authorization", "name by hand → ", "secret"):
        assert part in planned
    assert stored(folder)["endpoints.toml:shop"].rate == 5.0
    cdc("apply", "endpoints.toml")
    shop = stored(folder)["endpoints.toml:shop"]
    assert (shop.id, shop.timeout, shop.rate, shop.description) == (before.id, 3.0, 0.0, "")
    assert (shop.enabled, shop.disabled_reason) == (False, "Disabled by endpoints.toml.")
    assert (shop.secret, shop.former_secret) == (OTHER, SECRET), "the receiver has a day to change"
    assert shop.headers == (("Authorization", "Bearer t0psecret"),)
    assert actions(cdc) == {"shop": "none", "chat": "none"}

    edit(folder, ("127.0.0.1:9/shop", "127.0.0.1:10/shop"))
    assert actions(cdc) == {"shop": "change", "chat": "none"}, "credentials are in the file"
    edit(folder, ('headers = { Authorization = "env:SHOP_AUTHORIZATION" }\n', ""), ("127.0.0.1:10", "127.0.0.1:11"))
    refused = cdc("apply", "endpoints.toml", code=2).stderr
    assert "endpoint shop: The new URL has another origin" in " ".join(refused.split())


def test_what_leaves_the_file_is_removed_only_when_asked(cdc: Callable, folder: Path) -> None:
    cdc("apply", "endpoints.toml")
    cdc("endpoint", "add", "http://127.0.0.1:9/other", "--events", "*", "--name", "other", "--json")
    text = (folder / "endpoints.toml").read_text()
    (folder / "endpoints.toml").write_text('name = "endpoints.toml"\n' + text[: text.index("[endpoint.chat]")])
    assert actions(cdc) == {"shop": "none", "chat": "left"}
    (folder / "more.toml").write_text('name = "more.toml"\n[endpoint.more]\nurl = "pull:more"\nevents = ["*"]\n')
    assert "whsec_" not in cdc("apply", "more.toml", "--prune").stdout, "a consumer verifies no signature"
    assert actions(cdc, "--dry-run", "--prune", code=1) == {"shop": "none", "chat": "remove"}
    assert actions(cdc, "--prune") == {"shop": "none", "chat": "remove"}
    assert stored(folder).keys() == {"endpoints.toml:shop", "more.toml:more", "other"}


def test_files_of_the_same_file_name_keep_each_others_endpoints(cdc: Callable, folder: Path) -> None:
    """One was applied before it had a name: it keeps its endpoint's id."""
    file = '[endpoint.hook]\nurl = "http://127.0.0.1:9/{}"\nevents = ["*"]\n'
    for tenant in ("a", "b"):
        (folder / tenant).mkdir()
        (folder / tenant / "hooks.toml").write_text(file.format(tenant))
    cdc("apply", "a/hooks.toml")
    before = stored(folder)["hooks.toml:hook"]
    assert "hooks.toml has no name" in cdc("apply", "a/hooks.toml", "--prune", code=2).stderr
    for tenant in ("b", "a"):
        (folder / tenant / "hooks.toml").write_text(f'name = "{tenant}"\n' + file.format(tenant))
    for tenant in ("b", "a", "b", "a"):
        cdc("apply", f"{tenant}/hooks.toml", "--prune")
    found = stored(folder)
    assert {name: each.url[-1] for name, each in found.items()} == {"a:hook": "a", "b:hook": "b"}
    assert found["a:hook"].id == before.id


def test_an_export_takes_over_what_is_there_and_holds_no_secret(cdc: Callable, folder: Path) -> None:
    add = ["http://127.0.0.1:9/hook", "--events", "invoice.*", "--header", "X-Code: t0psecret", "--retries", "none"]
    (folder / "body.cel").write_text("{\n  'text': message\n}\n")
    cdc("endpoint", "add", *add, "--name", "Tienda «Ñ»", "--transform", "body.cel", "--json", "--rate", "2")
    cdc("endpoint", "add", "http://127.0.0.1:9/hook", "--events", "*", "--signature", "v1a", "--order", "none")
    before = stored(folder)
    text = cdc("export").stdout
    described = tomllib.loads(text)["endpoint"]
    assert [each["retries"] for each in described.values() if "retries" in each] == [[]]
    assert "# headers.X-Code" in text
    (folder / "endpoints.toml").write_text(text)
    assert set(actions(cdc).values()) == {"change"}, "they are marked"
    assert set(actions(cdc).values()) == {"none"}
    after = {each.id: each for each in stored(folder).values()}
    for each in before.values():
        assert after[each.id].managed_by == "endpoints.toml"
        assert apart_from_mark(after[each.id]) == apart_from_mark(each)
    assert tomllib.loads(cdc("export", next(iter(after))).stdout)["endpoint"].keys() <= described.keys()


def apart_from_mark(endpoint: Endpoint) -> dict[str, Any]:
    return {name: getattr(endpoint, name) for name in Endpoint.__slots__ if name != "managed"}


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (("rate = 5\n", "rates = 5\n"), "endpoints.toml, line 8: there is no key 'rates' here. Did you mean rate?"),
        (("rate = 5\n", 'rate = "x"\n'), "endpoints.toml, line 8: endpoint.shop.rate: Input should be a valid number"),
        (('"invoice.*", ', '"invioce.*", '), "endpoints.toml, line 2: endpoint shop: No event is called invioce.*"),
        (('secret_file = "shop.secret"', 'secret = "x"'), "line 5: there is no key 'secret' here. Write secret_file"),
        (("shop.secret", "nowhere"), "line 2: endpoint shop: The file"),
        (("env:SHOP_AUTHORIZATION", "env:NOT_SET"), "line 2: endpoint shop: The variable NOT_SET"),
        (('events = ["invoice.paid"]\n', ""), "line 11: the key 'events' is missing."),
        (('preset = "slack"', 'preset = "irc"'), "line 14: endpoint.chat.preset: Input should be"),
        (('preset = "slack"', 'transform = "nothing"'), "line 11: endpoint chat: The expression uses nothing"),
        (("[endpoint.chat]", '[endpoint."a b"]'), "line 11: endpoint.a b"),
        (("[endpoint.chat]", "[endpoint.shop]"), "endpoints.toml is not valid TOML"),
    ],
)
def test_an_error_names_the_line_and_changes_nothing(
    cdc: Callable, folder: Path, change: tuple[str, str], sentence: str
) -> None:
    cdc("outbox", "create")
    edit(folder, change)
    for options in ([], ["--dry-run"]):
        refused = cdc("apply", "endpoints.toml", *options, code=2)
        assert sentence in " ".join(refused.stderr.split())
    assert stored(folder) == {}


def test_an_exported_consumer_keeps_its_name_and_is_applied_unchanged(cdc: Callable, folder: Path) -> None:
    cdc("endpoint", "add", "pull:orders", "--events", "invoice.*")
    (folder / "endpoints.toml").write_text(cdc("export").stdout)
    assert "[endpoint.orders]" in (folder / "endpoints.toml").read_text()
    assert actions(cdc) == {"orders": "change"}
    assert actions(cdc, "--dry-run") == {"orders": "none"}
    assert [(each.url, each.concurrency) for each in stored(folder).values()] == [("pull:orders", 0)]
