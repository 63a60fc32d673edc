"""Handle an event that `cdc consume` has fetched: each once, the work first.

    HANDLER_DATABASE=/var/lib/handler/handled.db cdc consume orders --exec 'python3 handler.py'

Python 3.9 or newer, no library.
"""

import json
import os
import sqlite3
import sys

event = json.load(sys.stdin)
if event.get("test"):
    sys.exit(0)  # sent by `cdc endpoint test` or the page: no record was changed

db = sqlite3.connect(os.environ["HANDLER_DATABASE"])
db.execute("CREATE TABLE IF NOT EXISTS handled (number INTEGER PRIMARY KEY, id TEXT UNIQUE, event TEXT)")
with db:  # one transaction: the work, and the mark that it is done
    if db.execute("INSERT OR IGNORE INTO handled (id, event) VALUES (?, ?)", (event["id"], event["event"])).rowcount:
        pass  # What you do about it. An exception undoes the mark and ends with another code than 0: it comes again.
