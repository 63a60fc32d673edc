"""FacturaScripts itself, from a checkout with its libraries, over HTTP: its wizard, and forms as a browser sends them.

    tests/acceptance/real_erp.sh FOLDER

A customer, invoices, a payment and a deletion are made by its pages; a `cdc run` with triggers reports them; and after
`cdc uninstall-triggers` the database's schema is the one of before.
"""

from __future__ import annotations

import asyncio
import html
import json
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from datetime import datetime
from hashlib import sha256
from http.cookiejar import CookieJar
from pathlib import Path
from typing import Any, Final
from urllib.error import HTTPError, URLError
from urllib.parse import urlencode
from urllib.request import HTTPCookieProcessor, Request, build_opener

import pymysql

from cdc.model.connection import ConnectionInfo, Engine
from support.consumer import Consumer, Inbox, receiving
from support.ports import free_port
from support.server import OWNER, PASSWORD, Spec, running_server

#: The rules of FacturaScripts for web servers, for that of PHP: files of these folders, the rest by index.php.
ROUTER: Final = r"""<?php
$path = parse_url($_SERVER['REQUEST_URI'], PHP_URL_PATH);
if (preg_match('#^/(Core|Dinamic|Plugins/[^/]+)/Assets/|^/node_modules/#', $path)
    && is_file($_SERVER['DOCUMENT_ROOT'] . $path)) {
    return false;
}
chdir($_SERVER['DOCUMENT_ROOT']);
require $_SERVER['DOCUMENT_ROOT'] . '/index.php';
"""
DATABASE: Final = "erp"
START_SECONDS: Final = 20
_LOGIN: Final = {"user": "admin", "word": "a-long-word-9"}  # of an installation on the loopback interface, for one run
_TOKEN: Final = re.compile(r'name="multireqtoken" value="([^"]+)"')


class RealErp:
    """A browser at a running FacturaScripts."""

    def __init__(self, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self._opener = build_opener(HTTPCookieProcessor(CookieJar()))

    def get(self, page: str) -> str:
        return self._open(Request(f"{self.url}/{page}"))

    def post(self, page: str, **form: str) -> str:
        return self._open(Request(f"{self.url}/{page}", urlencode(form).encode()))

    def submit(self, page: str, **form: str) -> str:
        """Read a page, and send a form with its token."""
        return self.post(page, **form, multireqtoken=token(self.get(page)))

    def document(self, page: str, action: str, values: Mapping[str, str]) -> dict[str, Any]:
        """Send the form of an invoice, and return the answer.  Raises `AssertionError` for a refusal."""
        answer = json.loads(self.submit(page, action=action, data=json.dumps({"action": action, **values})))
        assert answer["ok"], answer
        return dict(answer)

    def _open(self, request: Request) -> str:
        try:
            with self._opener.open(request, timeout=120) as answer:
                return str(answer.read().decode())
        except HTTPError as error:
            text = re.sub(r"<[^>]+>|\s+", " ", error.read().decode())
            message = f"{request.get_method()} {request.full_url}: {error.code} {text[:500]}"
            raise AssertionError(message) from error


def token(page: str) -> str:
    """Return the token of a page's form, which each form is sent with."""
    found = _TOKEN.search(page)
    assert found, f"no form in {page[:500]}"
    return html.unescape(found[1])


@contextmanager
def real_erp(checkout: Path, folder: Path) -> Iterator[RealErp]:
    """Serve a copy of a checkout by PHP's own server."""
    site, port = folder / "site", free_port()
    shutil.copytree(checkout, site, ignore=shutil.ignore_patterns(".git", "config.php", "MyFiles"), symlinks=True)
    router = folder / "router.php"
    router.write_text(ROUTER, encoding="utf-8")
    command = ["php", "-S", f"127.0.0.1:{port}", "-t", str(site), str(router)]
    with (folder / "php.log").open("wb") as log, subprocess.Popen(command, cwd=site, stdout=log, stderr=log) as server:
        try:
            erp, deadline = RealErp(port), time.monotonic() + START_SECONDS
            while True:
                try:
                    erp.get("")
                    break
                except URLError:
                    assert time.monotonic() < deadline, (folder / "php.log").read_text("utf-8", "replace")
                    time.sleep(0.05)  # a server gives no other sign
            yield erp
        finally:
            server.terminate()


def install(erp: RealErp, port: int) -> None:
    """Install it as a person does: the page of the installer, the first login, the wizard's three steps."""
    done = erp.post(
        "", fs_db_type="mysql", fs_db_host="127.0.0.1", fs_db_port=str(port), fs_db_name=DATABASE, fs_db_user=OWNER,
        fs_db_pass=PASSWORD, fs_initial_user=_LOGIN["user"], fs_initial_pass=_LOGIN["word"], fs_lang="es_ES",
        unattended="1", mysql_socket="",
    )  # fmt: skip
    assert done == "OK", done[:2000]
    erp.submit("login", action="login", fsNick=_LOGIN["user"], fsPassword=_LOGIN["word"])
    page = erp.submit(
        "Wizard", action="step1", codpais="ESP", empresa="Ferretería Sol", email="ana@example.com", direccion="Sol 1",
        ciudad="Madrid", provincia="Madrid", codpostal="28001", personafisica="0",
    )  # fmt: skip
    erp.post(
        "Wizard", action="step2", multireqtoken=token(page), cifnif="12345678Z", tipoidfiscal="NIF",
        regimeniva="General", codimpuesto="IVA21", codpago="CONT", defaultplan="1",
    )  # fmt: skip
    erp.get("Wizard?action=step3")


def add_customer(erp: RealErp, name: str) -> None:
    erp.submit(
        "EditCliente", action="insert", activetab="EditCliente", nombre=name, cifnif="12345678Z", tipoidfiscal="NIF",
        email="ana@example.com", codserie="A", codpago="CONT",
    )  # fmt: skip


def _line(number: str) -> dict[str, str]:
    values = {
        "cantidad": "2", "descripcion": "Tornillos", "pvpunitario": "100", "codimpuesto": "IVA21", "dtopor": "0",
        "dtopor2": "0", "irpf": "0", "recargo": "0", "orden": "1", "coste": "0",
    }  # fmt: skip
    return {f"{name}_{number}": value for name, value in values.items()}


def add_invoice(erp: RealErp) -> tuple[str, dict[str, str]]:
    """Save an invoice of customer 1; return its page and the values of its form then."""
    values = {
        "codcliente": "1", "codserie": "A", "codpago": "CONT", "coddivisa": "EUR", "codalmacen": "ALG",
        "fecha": time.strftime("%Y-%m-%d"), "hora": "12:00:00", "dtopor1": "0", "dtopor2": "0", "tasaconv": "1",
        "cifnif": "12345678Z", "nombrecliente": "Ana Ruiz", "codpais": "ESP",
    }  # fmt: skip
    saved = erp.document("EditFacturaCliente", "save-doc", values | _line("n1"))
    page = str(saved["newurl"]).partition("&")[0]
    numbers = dict.fromkeys(re.findall(r'name="cantidad_(\d+)"', erp.get(page)))
    assert len(numbers) == 1, numbers
    return page, values | _line(*numbers)


def schema(info: ConnectionInfo) -> str:
    """Return all that defines the database: tables, views, triggers and routines, without counters of rows."""
    with closing(
        pymysql.connect(host=info.host, port=info.port, user=info.user, password=info.password, database=info.database)
    ) as db:
        cursor = db.cursor()

        def rows(sql: str) -> list[tuple[Any, ...]]:
            cursor.execute(sql)
            return list(cursor.fetchall())

        parts = []
        for (name,) in sorted(rows("SHOW TABLES")):
            text = rows(f"SHOW CREATE TABLE `{name}`")[0][1]
            parts.append(re.sub(r" AUTO_INCREMENT=\d+", "", text))
        parts += [str(row[:4]) for row in sorted(rows("SHOW TRIGGERS"))]
        parts += [str(row[:2]) for row in rows(f"SHOW PROCEDURE STATUS WHERE Db = '{info.database}'")]
        parts += [str(row[:2]) for row in rows(f"SHOW FUNCTION STATUS WHERE Db = '{info.database}'")]
    return "\n".join(parts)


async def walk(checkout: Path) -> None:
    """Play the story, and print what it took and what arrived."""
    with tempfile.TemporaryDirectory() as name, running_server(Spec("mariadb")) as server:
        folder = Path(name)
        info = ConnectionInfo(engine=Engine.MYSQL, database=DATABASE, user=OWNER, password=PASSWORD, port=server.port)
        with real_erp(checkout, folder) as erp:
            begun = time.perf_counter()
            await asyncio.to_thread(install, erp, server.port)
            print(f"installer, login and wizard: {time.perf_counter() - begun:.1f} s")
            add_customer(erp, "Ana Ruiz")
            add_invoice(erp)  # pages make their tables when they are first opened
            before = schema(info)
            consumer, inbox = Consumer.configure(folder / "cdc", info), Inbox()
            begun = time.perf_counter()
            await asyncio.to_thread(consumer.run, "install-triggers")
            print(f"cdc install-triggers: {time.perf_counter() - begun:.1f} s")
            async with receiving(inbox) as url:
                await asyncio.to_thread(consumer.add_endpoint, url, "*")
                async with consumer.running():
                    await _story(erp, inbox)
            await asyncio.to_thread(consumer.run, "uninstall-triggers", "--yes")
            after = schema(info)
            print(f"schema before and after: {_hash(before)} {_hash(after)}, {len(before):,} bytes")
            assert after == before


async def _story(erp: RealErp, inbox: Inbox) -> None:
    async def step(title: str, event: str, work: Any) -> Any:
        known, begun = len(inbox.events), time.perf_counter()
        done = await asyncio.to_thread(work)
        answered = time.perf_counter()
        await inbox.until_event(lambda each: each["event"] == event and each not in inbox.events[:known])
        found = next(each for each in inbox.received[known:] if each.event["event"] == event)
        after = (found.received_at - datetime.fromisoformat(found.event["timestamp"])).total_seconds() * 1000
        names = [each["event"] for each in inbox.events[known:]]
        print(f"{title}: page {answered - begun:.2f} s, {event} {after:.0f} ms after its change; {', '.join(names)}")
        return done

    await step("a customer", "customer.created", lambda: add_customer(erp, "Luis Gil"))
    page, values = await step("an invoice", "invoice.created", lambda: add_invoice(erp))
    paid = values | {"selectedLine": "1", "paid-status": "1", "fechapagorecibo": values["fecha"]}
    await step("its payment", "receipt.paid", lambda: erp.document(page, "save-paid", paid))
    page, _ = await step("another invoice", "invoice.created", lambda: add_invoice(erp))
    await step("its deletion", "invoice.deleted", lambda: erp.submit(page, action="delete-doc"))


def _hash(text: str) -> str:
    return sha256(text.encode()).hexdigest()[:16]


if __name__ == "__main__":
    asyncio.run(walk(Path(sys.argv[1]).resolve()))
