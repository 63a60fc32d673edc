"""A receiver of webhooks in Python, with nothing but the standard library: signature, each event once, the newest wins.

WEBHOOK_SECRET=whsec_… python receiver.py 8700

Behind a web server of yours it is `handle` that matters: the same few lines in Flask, Django or FastAPI.
"""

import base64
import hmac
import json
import os
import sqlite3
import sys
import time
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

SECRET = os.environ["WEBHOOK_SECRET"]
DATABASE = os.environ.get("RECEIVER_DATABASE", "received.db")
FIVE_MINUTES = 300
SHORTEST_KEY = 24  # bytes


def is_genuine(headers: Mapping[str, str], body: bytes) -> bool:
    """Signed with our secret, and not long ago.  ``body``: the bytes as they came."""
    sent = headers.get("webhook-timestamp", "")
    if not (sent.isascii() and sent.isdigit()) or abs(time.time() - int(sent[:12])) > FIVE_MINUTES:
        return False
    key = base64.b64decode(SECRET.removeprefix("whsec_"))
    if len(key) < SHORTEST_KEY:
        return False  # no secret: anybody can sign with an empty key
    signed = f"{headers.get('webhook-id', '')}.{sent}.".encode() + body
    expected = b"v1," + base64.b64encode(hmac.digest(key, signed, "sha256"))
    given = headers.get("webhook-signature", "").encode().split(b" ")
    return any(hmac.compare_digest(expected, each) for each in given)


def handle(event: dict[str, Any]) -> None:
    """Once for each event, whatever is sent again.  The mark that it was handled and what is done about it are one
    transaction: a crash between the two would lose the event or do it twice."""
    if event.get("test"):
        return  # sent by `cdc endpoint test` or the page: no record was changed
    with sqlite3.connect(DATABASE, timeout=10) as db:  # commits at the end, or takes all of it back
        db.execute("BEGIN IMMEDIATE")
        if db.execute("INSERT OR IGNORE INTO seen (id) VALUES (?)", (event["id"],)).rowcount == 0:
            return  # it was handled before
        record = json.dumps([event["source"], event["event"].partition(".")[0], event["key"]])
        newest = db.execute("SELECT time FROM newest WHERE record = ?", (record,)).fetchone()
        if newest is not None and event["timestamp"] < newest[0]:
            return  # a replay of something older than what is known
        db.execute("REPLACE INTO newest (record, time) VALUES (?, ?)", (record, event["timestamp"]))
        work(db, event)


def work(db: sqlite3.Connection, event: dict[str, Any]) -> None:
    """What you do about it, in the same transaction."""
    db.execute("INSERT INTO handled (id, event) VALUES (?, ?)", (event["id"], event["event"]))


class Receiver(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if not is_genuine(self.headers, body):  # type: ignore[arg-type]  # it has the get of a mapping, by any case
            self.send_error(401, "The signature is wrong")
            return
        content = json.loads(body)
        for event in content if isinstance(content, list) else [content]:  # a batch is an array
            handle(event)
        self.send_response(204)  # only now: what raised is answered 500 by nobody, and sent again
        self.end_headers()


def main() -> None:
    with sqlite3.connect(DATABASE) as db:
        db.execute("CREATE TABLE IF NOT EXISTS seen (id TEXT PRIMARY KEY)")
        db.execute("CREATE TABLE IF NOT EXISTS newest (record TEXT PRIMARY KEY, time TEXT NOT NULL)")
        db.execute("CREATE TABLE IF NOT EXISTS handled (number INTEGER PRIMARY KEY, id TEXT, event TEXT)")
    ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Receiver).serve_forever()


if __name__ == "__main__":
    main()
