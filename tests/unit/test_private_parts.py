"""Private parts of client libraries that this package uses: each library's in one module, and as they are expected.

A new version of a library may move them without notice; `test_private_part_is_where_it_was` then names the part and the
module that uses it.  `test_no_other_private_part_is_used` finds parts that the table lacks.
"""

import inspect
import re
from collections.abc import Iterator
from functools import cache
from importlib import import_module
from importlib.metadata import version
from pathlib import Path

import pytest

import cdc

PACKAGE = Path(cdc.__file__).parent

#: (distribution, module of ours) → foreign class → its private attributes, and methods with all their parameters.
PARTS: dict[tuple[str, str], dict[str, str]] = {
    ("aiohttp", "cdc.dispatch.connection"): {
        "aiohttp.connector:TCPConnector": "_create_proxy_connection(req, traces, timeout) _factory "
        "_start_tls_connection(underlying_transport, req, timeout, client_error) connect(req, traces, timeout)",
        "aiohttp.client_proto:ResponseHandler": "should_close transport read() connection_made(transport)",
        "aiohttp.client_reqrep:ClientRequest": "connection_key is_ssl() server_hostname proxy proxy_headers ssl",
        "aiohttp.connector:Connection": "protocol transport release() close()",
    },
    ("aiokafka", "cdc.dispatch.broker.kafka_client"): {
        "aiokafka.conn:AIOKafkaConnection": "_closed_fut _create_reader_task() _do_sasl_handshake() "
        "_do_version_lookup() _host _loop _on_close_cb _port _protocol _read_task _reader _sasl_mechanism "
        "_sasl_plain_password _sasl_plain_username _writer authenticator_scram()",
        "aiokafka.conn:ScramAuthenticator": "create_salted_password(salt, iterations)",
        "aiokafka.client:AIOKafkaClient": "_conns _get_conn(node_id, group, no_hint) _loop _md_synchronizer() "
        "_metadata_update(cluster_metadata, topics) _on_connection_closed(conn, reason) _sync_task _topics",
        "aiokafka.producer.sender:Sender": "_do_init_pid(node_id) _send_produce_req(node_id, batches) _txn_manager",
        "aiokafka.producer.transaction_manager:TransactionManager": "increment_sequence_number(tp, increment)",
    },
    ("nats-py", "cdc.dispatch.broker.nats_client"): {
        "nats.aio.client:Client": "_connect_to_server(s) _current_server _pending _pending_data_size "
        "_process_info(info, initial_connection) _select_next_server() _server_pool _transport",
        "nats.aio.transport:TcpTransport": "_io_writer",
    },
    ("redis", "cdc.dispatch.broker.redis_client"): {
        "redis.asyncio:Connection": "_connection_arguments()",
    },
    ("PyMySQL", "cdc.database.mysql_connection"): {
        "pymysql.connections:Connection": "_create_ssl_ctx(sslp) _force_close() _read_packet(packet_type) _sock "
        "_write_bytes(data)",
    },
}
#: Of named tuples, enumerations and abstract classes.
PYTHONS = ("_replace", "_asdict", "_fields", "_value_", "_abc_impl")
CASES = [
    (library, module, place, part)
    for (library, module), classes in PARTS.items()
    for place, parts in classes.items()
    for part in re.findall(r"\w+(?:\([^)]*\))?", parts)
]


@pytest.mark.parametrize(("library", "module", "place", "part"), CASES)
def test_private_part_is_where_it_was(library: str, module: str, place: str, part: str) -> None:
    name, bracket, _ = part.partition("(")
    found = present(place, name)
    if bracket and found:
        found = f"{name}({', '.join(parameters(place, name))})"
    assert found == (part if bracket else name), (
        f"{library} {version(library)} has {found or 'nothing'} in {place.replace(':', '.')} instead of {part}: "
        f"adapt {module}, which uses it, and the table in {Path(__file__).name}."
    )


def present(place: str, name: str) -> str:
    """Return the name if the class has it; else an empty text."""
    module, _, title = place.partition(":")
    return name if has(getattr(import_module(module), title, object), name) else ""


def has(cls: type, name: str) -> bool:
    """Return whether the class, or a base of it, defines the name or assigns it to an instance."""
    assigned = re.compile(rf"\bself\.{name}\b[^=\n]*(?<![=!<>])=(?!=)")
    return any(name in vars(each) or assigned.search(source(each)) for each in cls.__mro__[:-1])


@cache
def source(of: type) -> str:
    try:
        return inspect.getsource(of)
    except (OSError, TypeError):  # written in C
        return ""


def parameters(place: str, name: str) -> list[str]:
    module, _, title = place.partition(":")
    return list(inspect.signature(getattr(getattr(import_module(module), title), name)).parameters)[1:]


def test_no_other_private_part_is_used() -> None:
    known = {(module, part.partition("(")[0]) for _, module, _, part in CASES}
    used = {(module, name) for module, name in foreign_names() if name not in PYTHONS}
    assert sorted(used - known) == []
    assert sorted({(module, name) for module, name in known if name.startswith("_")} - used) == []


def foreign_names() -> Iterator[tuple[str, str]]:
    """Yield (module, name) for each private name of a foreign object."""
    sources = {
        ".".join(("cdc", *path.relative_to(PACKAGE).with_suffix("").parts)): path.read_text()
        for path in PACKAGE.rglob("*.py")
    }
    ours = {
        name
        for text in sources.values()
        for name in re.findall(r"(?:def |self\.|cls\.|^    )(_[a-z]\w*)(?=\(|[^=\n(]*[:=])", text, re.MULTILINE)
    }
    libraries = {place.partition(".")[0] for classes in PARTS.values() for place in classes}
    for module, text in sources.items():
        # of other objects: names that this package defines nowhere
        for name in re.findall(r"(?<!self)(?<!cls)(?<!super\(\))\.(_[a-z]\w*)|attr\([^,]+, \"(_[a-z]\w*)\"", text):
            if (found := "".join(name)) not in ours:
                yield module, found
        if not re.search(rf"^\s*(?:from|import) (?:{'|'.join(libraries)})\b", text, re.MULTILINE):
            continue
        # of our subclasses: names that a library's class has
        for cls in [each for each in vars(import_module(module)).values() if inspect.isclass(each)]:
            bases = [each for each in cls.__mro__ if each.__module__.partition(".")[0] in libraries]
            if cls.__module__ == module and bases:
                names = {*re.findall(r"(?:self|super\(\))\.(_[a-z]\w*)", source(cls)), *map(str, vars(cls))}
                yield from ((module, name) for name in names if re.match("_[a-z]", name) and has(bases[0], name))
