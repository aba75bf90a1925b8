"""One connection to a data source, and logging in, for the store as well. The only file that knows PyMySQL.

Whatever the driver raises leaves this file as one of ``bot.errors`` with a sentence for people, but for ``connect``,
and ``login`` and ``prepare``, which the store's engine calls.
"""

from __future__ import annotations

import contextlib
import functools
import select
import socket
import ssl
import struct
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

import pymysql
from pymysql import converters
from pymysql.connections import MySQLResult
from pymysql.constants import CLIENT, COMMAND, CR, FIELD_TYPE
from pymysql.cursors import Cursor
from pymysql.protocol import FieldDescriptorPacket, MysqlPacket

from bot.errors import ConnectionLostError, DataSourceError, DataSourceTimeoutError, UnsafeConnectionError
from bot.sessions import driver_errors, parsec, refused_logins
from bot.sessions.charsets import decoded
from bot.sessions.endpoint import (
    CONNECT_TIMEOUT,
    READ_TIMEOUT,
    STATEMENT_LIMITS,
    STATEMENT_TIMEOUT,
    WAY_BACK,
    Endpoint,
)
from bot.sessions.session_variables import CHARACTER_SET, COLLATION
from bot.sessions.tls import Tls

_T = TypeVar("_T")
Value = str | int | float | None
Row = tuple[Any, ...]
# What is run on a new connection: statements, and session variables with their values in SQL that are set together.
Preparation = Sequence[str | Mapping[str, str]]

# Numbers that the driver gives to what goes wrong on the way, not the server: libmysqlclient's.
_ON_THE_WAY = range(2000, 3000)
# What a server says that takes no writes, as one that was demoted. docs/oceanbase.md 2.6.
READ_ONLY_ERRORS = frozenset({1290, 1792, 1836})

# Login plugins that hand the password itself to whoever asks: as it stands, or encrypted with a key of the asker's.
# So does the long form of caching_sha2_password, which a MySQL asks for after each start: docs/threat-model.md.
_ASK_FOR_THE_PASSWORD = ("mysql_clear_password", "dialog", "sha256_password")

_HEADER = 4  # bytes before a packet: its length, in three of them, and its number
_NO_ROW = 0xFE  # from here on the first byte of a packet says, as a rule, that the rows end, or an error
# The length of a cell is one byte up to 250; else that says how many follow that are it, or that the cell is NULL
# (MySQL's protocol, length-encoded integers).
_SHORT = 250
_WIDTHS = {252: 2, 253: 3, 254: 8}

# What PyMySQL says it lacks, and what to do about it.
_EXTRAS = {
    "pynacl": "the account logs in by ed25519, for which a package is missing where the bot runs: pip install "
    '"session-bot[ed25519]"',
    "cryptography": "the account logs in by sha256_password or caching_sha2_password without TLS, for which a package "
    'is missing where the bot runs: pip install "PyMySQL[rsa]"',
}

MODULE = "session-bot"  # how the bot's own sessions are tagged, its replicas' included


class SignOfLife:
    """Asks whether anybody is at the other end of a connection, for as long as one likes to wait.

    A firewall that has forgotten it drops what is sent on it, and nobody tells either end. ``owed`` is whether an
    answer has not arrived yet: before that nothing else can be asked.
    """

    def __init__(self, raw: Any) -> None:
        self.owed = False
        self._raw = raw

    def comes_within(self, seconds: float) -> bool:
        """Ask, unless that was done, and wait. Raises what the driver raises: then nobody is there any more."""
        if not self.owed:
            self._raw._execute_command(COMMAND.COM_PING, b"")  # the driver's own ping() waits as long as for an answer
            self.owed = True
        if not _arrives(self._raw._sock, seconds):
            return False
        self._raw._read_ok_packet()
        self.owed = False
        return True


def _of_digits(convert: Callable[[str], Any]) -> Callable[[bytes], Any]:
    if convert is int or convert is float:  # which read bytes as well
        return convert
    return lambda raw: convert(raw.decode("ascii"))


_TEXTS = (FIELD_TYPE.JSON, FIELD_TYPE.ENUM, FIELD_TYPE.SET)  # besides those that PyMySQL takes as they are
# How the cells of each type are read. Texts are so whatever character set they say they have; bytes are texts, too.
_CONVERSIONS: dict[Any, Any] = (
    converters.conversions
    | {
        kind: decoded if convert is converters.through else _of_digits(convert)
        for kind, convert in converters.decoders.items()
    }
    | dict.fromkeys(_TEXTS, decoded)
)


class Connection:
    """One connection: runs statements with bound values, turns driver errors into ours."""

    def __init__(self, endpoint: Endpoint, raw: pymysql.Connection[Any], *, opened: float = 0.0) -> None:
        self.opened = opened  # reading of ``monotonic`` when its login began
        self.used = opened  # and when it was given back last, or had logged in
        self.lent = False  # whether anybody has had it
        self.waited = 0.0  # seconds that whoever has it now has waited for one to get free
        self.behind = 0  # and how many had waited longer
        self.broken = False  # what arrives on it next may be the answer to something else
        self.demoted = False  # its server has said that it takes no writes
        self.answered = True  # whether anything has arrived on it since it was borrowed
        self.limit: float | None = None  # seconds that a statement may take, where that is less than usual
        self._endpoint = endpoint
        self._raw = raw
        self._life = SignOfLife(raw)
        self._limits: tuple[str, ...] | None = None  # the variables by which this server is told so; None: not tried

    @property
    def is_open(self) -> bool:
        """Whether its socket is open at this end; that says nothing of the other one."""
        return bool(self._raw.open)

    def close(self) -> None:
        """Close it; nothing is waited for."""
        if self.broken:
            self._raw._force_close()  # type: ignore[attr-defined]  # without a farewell, which might be a half-sent packet
        else:
            with contextlib.suppress(pymysql.Error, OSError):  # the server may have closed it
                self._raw.close()

    def wait_for_answers(self, seconds: int) -> None:
        """Let each statement from now on take so long."""
        self._raw._read_timeout = seconds  # type: ignore[attr-defined]  # PyMySQL has no public name

    def limit_to(self, seconds: float | None) -> None:
        """Let each statement from now on take so many seconds, at the server and on the way; None is as after login.

        Raises one of the ``DataSourceError`` family where the connection is lost.
        """
        if seconds == self.limit:
            return
        at_server = STATEMENT_TIMEOUT if seconds is None else seconds
        values = {name: f"{name} = {_decimal(at_server * units)}" for name, units in STATEMENT_LIMITS.items()}
        if self._limits is None:
            self._limits = tuple(name for name, value in values.items() if self._takes(f"SET SESSION {value}"))
        elif self._limits:
            self.rows(f"SET SESSION {', '.join(values[name] for name in self._limits)}")
        self._raw._read_timeout = READ_TIMEOUT if seconds is None else seconds + WAY_BACK  # type: ignore[attr-defined]  # PyMySQL has no public name
        self.limit = seconds

    def _takes(self, statement: str) -> bool:
        try:
            self.rows(statement)
        except (ConnectionLostError, DataSourceTimeoutError):
            raise
        except DataSourceError:
            return False  # this server has no such variable
        return True

    def abandon(self) -> None:
        """Close it under a statement that another thread waits for: that thread is told so at once."""
        self.broken = True
        raw = self._raw._sock  # type: ignore[attr-defined]  # PyMySQL has no public name
        if raw is not None:
            with contextlib.suppress(OSError):  # the other end has gone
                socket.socket.shutdown(raw, socket.SHUT_RDWR)  # beneath TLS, whose reader is in the middle of a record
        self.close()

    def answers_within(self, seconds: float) -> bool:
        """Whether it gives a sign of life within that time; one that comes late may be waited for by another call."""
        self.broken = True  # unless it answers this, or not yet
        try:
            came = self._life.comes_within(seconds)
        except (pymysql.Error, OSError):
            return False
        self.broken = False
        self.answered = self.answered or came
        return came

    @property
    def silent(self) -> bool:
        """Whether it owes a sign of life."""
        return self._life.owed

    @property
    def greeting(self) -> str:
        """The version that the server gave at the handshake."""
        return str(self._raw.get_server_info())  # type: ignore[no-untyped-call]  # so in PyMySQL's types

    @property
    def id(self) -> int:
        """The session id the server gave at the handshake."""
        return int(self._raw.thread_id())  # type: ignore[no-untyped-call]  # so in PyMySQL's types

    @property
    def local_address(self) -> str:
        """The bot's own end of the connection as servers print it: ``ip:port``, IPv6 in brackets; '' without one."""
        try:
            host, port, *_ = self._raw._sock.getsockname()  # type: ignore[attr-defined]  # PyMySQL has no public name
        except (AttributeError, OSError, ValueError):
            return ""
        return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"

    @property
    def safety(self) -> str:
        """How it is encrypted, for people."""
        return safety(self._raw)

    def columns(self, view: str) -> dict[str, int]:
        """Return the columns of a view, in upper case, with their types as MySQL's protocol numbers them.

        Not by DESC: OceanBase refuses that to a login with SELECT on just this view. Raises as ``rows``.
        """
        _, described = self._run(f"SELECT * FROM {view} LIMIT 0", ())
        return {str(name).upper(): int(kind) for name, kind, *_ in described}

    def rows(self, sql: str, values: Sequence[Value | Sequence[Value]] = ()) -> list[Row]:
        """Run one statement and return its rows.

        Raises one of the ``DataSourceError`` family.
        """
        return self._run(sql, values)[0]

    def meanwhile(self, work: Callable[[], _T]) -> Callable[[], _T]:
        """Work something out while the server is at the next statement, instead of before it is sent.

        Returns what gives it, worked out then if it has not been yet; what that raises is raised there. ``work`` asks
        nothing on this connection: were it to try, it would be done where it is wanted.
        """
        found = functools.cache(work)
        self._raw.meanwhile.append(found)  # type: ignore[attr-defined]  # see _Guarded
        return found

    def _run(self, sql: str, values: Sequence[Value | Sequence[Value]]) -> tuple[list[Row], Sequence[Row]]:
        """Return the rows and what the server says of their columns."""
        if self._raw.works:  # type: ignore[attr-defined]  # see _Guarded
            raise RuntimeError("a statement is not sent before the one under way is answered")
        try:
            with self._raw.cursor() as cursor:
                cursor.execute(sql, tuple(values) or None)
                answer = list(cursor.fetchall()), cursor.description or ()
        except (pymysql.Error, OSError) as error:
            raise self._failed(error) from error
        except BaseException:
            self.broken = True  # whatever it was, the rest of the answer would be taken for that of the next statement
            raise
        self.answered = True
        return answer

    def _failed(self, error: pymysql.Error | OSError) -> DataSourceError:
        """Say what went wrong, and whether anything can be asked on this connection after it."""
        translated = _explained(self._endpoint, error)
        if self.limit is not None and isinstance(translated, DataSourceTimeoutError):
            translated = DataSourceTimeoutError(
                str(driver_errors.timeout(self._endpoint, self.limit)), errno=translated.errno
            )
        errno = error.args[0] if error.args else None
        told = isinstance(error, pymysql.Error) and isinstance(errno, int) and errno > 0 and errno not in _ON_THE_WAY
        # What was given up on here may still be answered: never use that socket again. What the server gave up on is
        # answered.
        self.broken = self.broken or isinstance(translated, ConnectionLostError) or not told
        self.demoted = self.demoted or errno in READ_ONLY_ERRORS
        if isinstance(translated, DataSourceTimeoutError) and not told and not self.answered:
            # It was kept for a while, and nothing has arrived on it since: it may be the connection, not the server.
            return ConnectionLostError(str(translated), errno=translated.errno)
        return translated


def _decimal(number: float) -> str:
    """Write a number without an exponent, which session variables do not take, and a whole one without a point."""
    return f"{number:.3f}".rstrip("0").rstrip(".")


def _arrives(sock: socket.socket, seconds: float) -> bool:
    """Whether something can be read, be it the news that the other end has gone, within so many seconds."""
    if isinstance(sock, ssl.SSLSocket) and sock.pending():
        return True
    poll = select.poll()
    poll.register(sock, select.POLLIN)
    return bool(poll.poll(seconds * 1000))


def open_connection(endpoint: Endpoint, preparation: Preparation) -> Connection:
    """Log in and prepare the session. Raises one of the ``DataSourceError`` family."""
    opened = time.monotonic()
    try:
        raw = connect(endpoint)
    except (pymysql.Error, OSError) as error:
        raise _explained(endpoint, error, at_login=True) from error
    try:
        prepare(raw, preparation)
    except (pymysql.Error, OSError) as error:
        raise _explained(endpoint, error, at_login=True) from error
    return Connection(endpoint, raw, opened=opened)


@contextlib.contextmanager
def connected(endpoint: Endpoint, preparation: Preparation) -> Iterator[Connection]:
    """Open a connection outside any pool, for one use. Raises one of the ``DataSourceError`` family."""
    connection = open_connection(endpoint, preparation)
    try:
        yield connection
    finally:
        connection.close()


def try_login(endpoint: Endpoint) -> None:
    """Log in and out again. Raises one of the ``DataSourceError`` family."""
    try:
        connect(endpoint).close()
    except (pymysql.Error, OSError) as error:
        raise _explained(endpoint, error, at_login=True) from error


def connect(endpoint: Endpoint) -> pymysql.Connection[Any]:
    """Open a connection with all time-outs set; raises ``UnsafeConnectionError`` or what the driver raises."""
    try:
        return login(
            endpoint.tls,
            host=endpoint.host,
            port=endpoint.port,
            user=endpoint.user,
            password=endpoint.password.get_secret_value(),
            charset=CHARACTER_SET,
            collation=COLLATION,
            use_unicode=False,  # a statement of a GBK client says that it is UTF-8
            conv=_CONVERSIONS,
            autocommit=True,
            connect_timeout=CONNECT_TIMEOUT,
            read_timeout=READ_TIMEOUT,
            write_timeout=READ_TIMEOUT,
        )
    except UnsafeConnectionError as error:
        raise driver_errors.unsafe(endpoint, error) from error


def login(tls: Tls, *, password: str = "", **arguments: Any) -> pymysql.Connection[Any]:
    """Log in to whatever server it is, as safely as ``tls`` says; the ``arguments`` are PyMySQL's.

    Raises ``UnsafeConnectionError``, with the rest of a sentence whose subject the caller knows, else what the
    driver raises. No text of any error is made from the password.
    """
    try:
        # Bytes: PyMySQL would send a text as Latin-1, and of one that is none it would quote a part.
        return _Guarded(tls, password=password.encode("utf-8", "surrogateescape"), **arguments)
    except pymysql.err.OperationalError as error:
        cause = getattr(error, "original_exception", None)
        if isinstance(cause, ssl.SSLCertVerificationError):
            raise UnsafeConnectionError(
                f"has a certificate that could not be verified: {cause.verify_message.rstrip('.')}. Nothing of the "
                "login was sent. Check tls_ca, and that the certificate is for the host as it is configured; if both "
                "are right, somebody may be intercepting the connection."
            ) from error
        if isinstance(cause, ssl.SSLError):
            raise pymysql.err.OperationalError(
                driver_errors.HANDSHAKE_FAILED, f"the TLS handshake failed ({cause.reason})"
            ) from error
        raise
    except (pymysql.Error, OSError, UnsafeConnectionError):
        raise
    except RuntimeError as error:  # PyMySQL's where a package is missing that it has as an extra
        package = next((name for name in _EXTRAS if f"'{name}'" in str(error)), None)
        if package is None:
            raise _not_understood() from error
        raise pymysql.err.OperationalError(refused_logins.MISSING_PACKAGE, _EXTRAS[package]) from error
    except Exception as error:
        # PyMySQL stumbles in many ways: over a greeting that is none, a host that is no name, a plugin it has half.
        raise _not_understood() from error


def _not_understood() -> pymysql.err.OperationalError:
    return pymysql.err.OperationalError(
        driver_errors.HANDSHAKE_FAILED, "it does not speak a protocol that the bot understands"
    )


def safety(raw: Any) -> str:
    """Say how a connection that ``login`` has opened is encrypted, as its own socket knows."""
    if not isinstance(raw._sock, ssl.SSLSocket):
        return "not encrypted"
    verified = raw._sock.context.verify_mode is ssl.CERT_REQUIRED
    return f"{raw._sock.version()}, certificate {'verified' if verified else 'not verified'}"


class _AnyName(FieldDescriptorPacket):
    """What a server says of a column. OceanBase names it by its SQL, typed texts included, cut within a letter."""

    def __init__(self, data: bytes, _encoding: str) -> None:
        super().__init__(data, "latin1")


class _Result(MySQLResult):
    """Reads rows without PyMySQL's dozen calls for each, and four for each cell: in half the time."""

    connection: Any
    converters: list[tuple[str | None, Callable[[Any], Any] | None]]
    rows: Sequence[Row]

    def _read_rowdata_packet(self) -> None:
        """Read rows up to the packet that ends them: what has arrived whole at once, all else as PyMySQL does."""
        connection, rows = self.connection, list[Row]()
        while True:
            if self._take_arrived(connection, rows):
                continue
            packet = connection._read_packet()  # the end, an error, or a row that has not arrived whole
            if self._check_packet_is_eof(packet):  # type: ignore[attr-defined]  # not in PyMySQL's types
                break
            rows.append(self._read_row_from_packet(packet))
        self.connection = None
        self.affected_rows = len(rows)
        self.rows = tuple(rows)

    def _take_arrived(self, connection: Any, rows: list[Row]) -> bool:
        """Add the rows that are in the buffer whole, after waiting where that is empty; return whether there is one."""
        try:
            arrived: bytes = connection._rfile.peek()
        except OSError as error:  # as _read_bytes has it
            connection._force_close()
            lost = f"Lost connection to MySQL server during query ({error})"
            raise pymysql.err.OperationalError(CR.CR_SERVER_LOST, lost) from error
        at, size, number = 0, len(arrived), connection._next_seq_id
        while size - at > _HEADER:
            begin = at + _HEADER
            end = begin + (arrived[at] | arrived[at + 1] << 8 | arrived[at + 2] << 16)
            if not begin < end <= size or arrived[at + 3] != number or arrived[begin] >= _NO_ROW:
                break
            rows.append(self._row(arrived, begin, end))
            at, number = end, (number + 1) % 256
        if at:
            connection._rfile.read(at)
            connection._next_seq_id = number
        return at > 0

    def _read_row_from_packet(self, packet: Any) -> Row:
        data: bytes = packet.get_all_data()
        return self._row(data, 0, len(data))

    def _row(self, data: bytes, at: int, end: int) -> Row:
        row: list[Any] = []
        try:
            for encoding, convert in self.converters:
                if at >= end:
                    break  # PyMySQL takes a row of fewer columns as well
                length = data[at]
                at += 1
                if length > _SHORT:
                    width = _WIDTHS.get(length)
                    if width is None:
                        row.append(None)
                        continue
                    length = int.from_bytes(data[at : at + width], "little")
                    at += width
                cell: Any = data[at : at + length]
                at += length
                if encoding is not None:
                    cell = cell.decode(encoding)
                row.append(cell if convert is None else convert(cell))
        except (ValueError, TypeError, ArithmeticError) as error:
            raise pymysql.err.InternalError(CR.CR_MALFORMED_PACKET, "a cell is not what its type says") from error
        if at > end:
            raise pymysql.err.InternalError(CR.CR_MALFORMED_PACKET, "a row ends within a cell")
        return tuple(row)


class _Guarded(pymysql.Connection):
    """Asks a server to be what ``tls`` wants before anything is sent; PyMySQL itself gives whatever is asked for."""

    server_capabilities: int
    password: bytes
    _auth_plugin_name: str

    def __init__(self, tls: Tls, **arguments: Any) -> None:
        self._tls = tls
        self.meanwhile: list[Callable[[], object]] = []  # is called, once, between the next statement and its answer
        self.works = False  # whether one of these is under way
        try:
            self._context = tls.context()
        except (OSError, ValueError) as error:
            raise UnsafeConnectionError(
                "cannot be verified: the file that tls_ca names cannot be read, or holds no certificate in PEM. "
                "Nothing of the login was sent."
            ) from error
        super().__init__(ssl_disabled=tls.mode == "off", ssl={"wanted": True} if tls.must else None, **arguments)

    def _create_ssl_ctx(self, _options: object) -> ssl.SSLContext:
        """Take ours. PyMySQL asks for it where TLS is preferred as well."""
        return self._context

    def _get_server_information(self) -> None:
        """Read the server's greeting, which comes before anything is sent."""
        self._be_greeted()
        if self._tls.must and not self.server_capabilities & CLIENT.SSL:
            raise UnsafeConnectionError(
                f'offers no TLS, and tls = "{self._tls.mode}" is set. Nothing of the login was sent. Turn TLS on at '
                "the server; if it was on, somebody may be intercepting the connection."
            )
        if self._asks_too_much(self._auth_plugin_name):
            # A server's usual plugin need not be the account's: let it ask for that one by name.
            self._auth_plugin_name = "mysql_native_password"

    def _be_greeted(self) -> None:
        try:
            super()._get_server_information()  # type: ignore[misc]  # not in PyMySQL's types
        except pymysql.err.OperationalError as error:
            if error.args[:1] != (driver_errors.SERVER_LOST,):
                raise  # a server may refuse before it greets
            raise pymysql.err.OperationalError(driver_errors.NO_GREETING, *error.args[1:]) from error
        except pymysql.err.InternalError as error:  # PyMySQL's own, over the number of a packet
            raise pymysql.err.OperationalError(driver_errors.OTHER_PROTOCOL, "") from error
        except (ArithmeticError, LookupError, UnicodeError, ValueError, struct.error) as error:
            raise pymysql.err.OperationalError(driver_errors.OTHER_PROTOCOL, "") from error

    def _read_query_result(self, unbuffered: bool = False) -> Any:
        """Read the answer to a statement. PyMySQL has no other place for a ``MySQLResult`` of somebody's own."""
        if unbuffered:
            return super()._read_query_result(unbuffered)  # type: ignore[misc]  # not in PyMySQL's types
        work, self.meanwhile, self.works = self.meanwhile, [], True
        for one in work:
            with contextlib.suppress(Exception):  # it is raised where the outcome is wanted
                one()
        self.works = False
        self._result = None
        result = _Result(self)
        result.read()
        self._result = result
        if result.server_status is not None:
            self.server_status = result.server_status
        return result.affected_rows

    def _read_packet(self, packet_type: Any = MysqlPacket) -> Any:
        return super()._read_packet(_AnyName if packet_type is FieldDescriptorPacket else packet_type)  # type: ignore[no-untyped-call]  # so in PyMySQL's types

    def _process_auth(self, plugin_name: bytes, *more: Any) -> Any:
        """Answer a server that asks for another login plugin."""
        plugin = plugin_name.decode("ascii", "replace")
        if self._asks_too_much(plugin):
            raise UnsafeConnectionError(
                f'asks for the password in a form ({plugin}) that the bot sends only with tls = "verified". '
                "It was not sent. Set that, or let the account use mysql_native_password or caching_sha2_password. "
                f"{refused_logins.OR_NO_SUCH_ACCOUNT}"
            )
        if plugin == "parsec":
            return self._sign(*more)
        try:
            return super()._process_auth(plugin_name, *more)  # type: ignore[misc]  # not in PyMySQL's types
        except pymysql.err.OperationalError as error:
            if error.args[:1] != (refused_logins.UNKNOWN_PLUGIN,):
                raise
            said = f"the account logs in by the plugin {plugin}, which the bot does not know"
            raise pymysql.err.OperationalError(refused_logins.UNKNOWN_PLUGIN, said) from error

    def _sign(self, challenge: Any, *_: object) -> Any:
        """Log in by parsec, which PyMySQL does not know."""
        self.write_packet(b"")  # asks for how the key is made of the password
        salted: Any = self._read_packet()
        salted.check_error()
        self.write_packet(
            parsec.answer(self.password, challenge.read_all(), salted.get_all_data().removeprefix(b"\x01"))
        )
        answer: Any = self._read_packet()
        answer.check_error()
        return answer

    def _asks_too_much(self, plugin: str) -> bool:
        return self._tls.mode != "verified" and plugin in _ASK_FOR_THE_PASSWORD


def prepare(raw: pymysql.Connection[Any], preparation: Preparation) -> None:
    """Run a preparation on a new connection. What the server does not know or refuses is passed over.

    Raises what the driver raises where the connection is lost, or the server gives up on a statement for the time it
    took: a session that could not be tagged would not be known as the bot's own. It is closed then.
    """
    try:
        with raw.cursor() as cursor:
            for one in preparation:
                if isinstance(one, str):
                    _taken(raw, cursor, one)
                elif not _taken(raw, cursor, _assignment(one)) and len(one) > 1:
                    # One that this server does not have keeps all the others from being set.
                    for name, value in one.items():
                        _taken(raw, cursor, _assignment({name: value}))
    except BaseException:
        raw._force_close()  # type: ignore[attr-defined]  # nobody else has it
        raise


def _assignment(variables: Mapping[str, str]) -> str:
    return f"SET SESSION {', '.join(f'{name} = {value}' for name, value in variables.items())}"


def _taken(raw: pymysql.Connection[Any], cursor: Cursor, statement: str) -> bool:
    try:
        cursor.execute(statement)
    except pymysql.Error as error:
        if not raw.open or error.args[0] in driver_errors.GAVE_UP:
            raise
        return False
    return True


def _explained(endpoint: Endpoint, error: Exception, *, at_login: bool = False) -> DataSourceError:
    errno = error.args[0] if error.args and isinstance(error.args[0], int) else 0
    text = str(error.args[1]) if len(error.args) > 1 else str(error)
    return driver_errors.failure(endpoint, errno, text, at_login=at_login)
