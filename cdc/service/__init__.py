"""The one place that chooses implementations: which installer, source, outbox and sender a configuration means.

Drivers are imported where they are chosen, so that a command loads only what it needs.
"""

from cdc.service.access import open_access, sign_in
from cdc.service.backfill import planned, receivers
from cdc.service.backfill_capture import capturing
from cdc.service.capture import captures, checked, plan_cascades, readable
from cdc.service.consumer import observing, run
from cdc.service.doctor import examine
from cdc.service.endpoints import (
    Previewed,
    check_endpoint,
    check_patterns,
    new_endpoint,
    preview,
    sending_problem,
    tried,
)
from cdc.service.events import event_types, event_types_of
from cdc.service.installers import (
    binlog_inspector,
    inspector,
    installer,
    installer_of,
    of_mysql,
    of_postgres,
    slot_installer,
)
from cdc.service.outboxes import back_up_outbox, migrate_outbox, open_outbox, outbox_script
from cdc.service.reload import Reload
from cdc.service.roles import Role
from cdc.service.rules import catalogue, catalogues
from cdc.service.sending import http_sender, mail_sender, reach
from cdc.service.sources import journal_of, probe_of, source_of
from cdc.service.survey import described, described_tables
from cdc.service.trial import send_test

__all__ = [
    "Previewed",
    "Reload",
    "Role",
    "back_up_outbox",
    "binlog_inspector",
    "captures",
    "capturing",
    "catalogue",
    "catalogues",
    "check_endpoint",
    "check_patterns",
    "checked",
    "described",
    "described_tables",
    "event_types",
    "event_types_of",
    "examine",
    "http_sender",
    "inspector",
    "installer",
    "installer_of",
    "journal_of",
    "mail_sender",
    "migrate_outbox",
    "new_endpoint",
    "observing",
    "of_mysql",
    "of_postgres",
    "open_access",
    "open_outbox",
    "outbox_script",
    "plan_cascades",
    "planned",
    "preview",
    "probe_of",
    "reach",
    "readable",
    "receivers",
    "run",
    "send_test",
    "sending_problem",
    "sign_in",
    "slot_installer",
    "source_of",
    "tried",
]
