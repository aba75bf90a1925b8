"""Live traffic for the demo's database: sleepers, short queries, one long report, one idle open transaction
that blocks two writers. Every client notes what happened to it and goes on after its session was closed.
"""

import socket
import threading
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Self

import pymysql

from sandbox.demo.client import Account, Client, EventLog
from sandbox.demo.endpoint import as_sent
from sandbox.demo.shop import create_databases, create_users

# By default OceanBase ends every statement after 10 s, MariaDB the wait for a row after 50 s.
LET_IT_RUN = "SET ob_query_timeout = 7200000000"  # microseconds
MARIADB_LET_IT_RUN = "SET innodb_lock_wait_timeout = 7200"  # seconds
REPORT = """
SELECT c.region,
       DATE_FORMAT(o.ordered_at, '%Y-%m') AS month,
       COUNT(DISTINCT o.customer_id)      AS customers,
       COUNT(*)                           AS orders,
       SUM(o.amount)                      AS revenue,
       SUM(CASE WHEN i.paid THEN 0 ELSE i.amount END) AS unpaid,
       MAX(SLEEP(5))                      AS pause  -- go easy on the shop: a pause after every order
FROM shop.orders AS o
JOIN shop.customers AS c ON c.id = o.customer_id
JOIN billing.invoices AS i ON i.order_id = o.id
WHERE o.status IN ('paid', 'open')
GROUP BY c.region, month
ORDER BY revenue DESC
""".strip()
BLOCKED_ROW = "UPDATE stock SET quantity = quantity - {step} WHERE sku = 'SKU-1'"
# The rests inside make them last about a second, so that a list of sessions sometimes shows them.
ORDERS_OF_ONE = "SELECT id, status, amount, SLEEP(0.08) FROM orders WHERE customer_id = 17 ORDER BY id"
LOW_STOCK = "SELECT sku, quantity, SLEEP(0.3) FROM stock WHERE quantity < 5000"
UNPAID = "SELECT COUNT(*), SUM(amount), MAX(SLEEP(0.02)) FROM invoices WHERE NOT paid"


@dataclass(frozen=True)
class Pace:
    """How long things take, in seconds; the demo's pace is the default, tests go faster."""

    reconnect_after: float = 3
    between_queries: float = 1
    between_reports: float = 20
    between_writes: float = 8
    blocker_away: float = 300


class Workload:
    """The clients of three small applications, as threads that end with `stop()` or with the process.

    `user` must be allowed to create databases and users; it is used for that alone, before the first client
    logs in. `let_it_run` is run where a statement must not end by itself. `events` is safe to read from any thread.
    """

    def __init__(
        self, host: str, port: int, user: str, password: str, pace: Pace | None = None, *, let_it_run: str = LET_IT_RUN
    ) -> None:
        self.events = EventLog()
        self._endpoint = (host, port)
        self._creator = (user, password)
        self._pace = pace or Pace()
        self._let_it_run = let_it_run
        self._passwords: dict[str, str] = {}
        self._row_is_held = threading.Event()
        self._clients: list[Client] = []

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Create what is missing, let all clients loose, return when the writers can be blocked.

        Errors of the creation (pymysql.err.MySQLError) are the caller's; later ones are events.
        """
        self._create()
        self._clients = self._make_clients()
        for client in self._clients:
            client.start()
        self._row_is_held.wait(10)

    def stop(self) -> None:
        """End all clients; their sessions go with them."""
        for client in self._clients:
            client.ask_to_stop()
        for client in self._clients:
            client.join()
        self._clients = []

    def _create(self) -> None:
        host, port = self._endpoint
        user, password = self._creator
        connection = pymysql.connect(
            host=host, port=port, user=user, password=as_sent(password), connect_timeout=5, read_timeout=60
        )
        try:
            create_databases(connection)
            self._passwords = create_users(connection)
        finally:
            connection.close()

    def _make_clients(self) -> list[Client]:
        pace = self._pace
        again = pace.between_queries
        return [
            self._client("stock-take", "batch", "shop", 31, self._hold_a_row, pause=pace.blocker_away),
            self._client("checkout-1", "app", "shop", 11, self._writer(step=1)),
            self._client("checkout-2", "app", "shop", 12, self._writer(step=2)),
            self._client("monthly-report", "report", "reports", 41, self._report, pause=pace.between_reports),
            self._client("shop-web-1", "app", "shop", 11, self._query_every(again, ORDERS_OF_ONE)),
            self._client("shop-web-2", "app", "shop", 12, self._query_every(again, LOW_STOCK)),
            self._client("billing-api", "billing", "billing", 21, self._query_every(again, UNPAID)),
            self._client("shop-pool-1", "app", "shop", 11, self._query_every(30, "SELECT 1")),
            self._client("shop-pool-2", "app", "shop", 12, self._query_every(60, "SELECT 1")),
            self._client("shop-pool-3", "app", "shop", 13, self._query_every(120, "SELECT 1")),
            self._client("billing-pool", "billing", "billing", 22, self._query_every(45, "SELECT 1")),
            self._client("night-batch", "batch", "shop", 32, self._query_every(90, "SELECT 1")),
            self._client("admin-console", "admin", None, 51, self._query_every(600, "SELECT 1")),
        ]

    def _client(
        self,
        name: str,
        user: str,
        database: str | None,
        number: int,
        work: Callable[[Client], None],
        *,
        pause: float | None = None,
    ) -> Client:
        host, port = self._endpoint
        source = loopback_source(host, number)
        tenant = "".join(self._creator[0].partition("@")[1:])  # a cluster's accounts log in as user@tenant
        account = Account(host, port, user + tenant, self._passwords[user], database, source)
        return Client(name, account, work, self.events, pause or self._pace.reconnect_after)

    def _query_every(self, seconds: float, query: str) -> Callable[[Client], None]:
        def work(client: Client) -> None:
            client.run(query)
            client.note("done")
            client.rest(seconds)

        return work

    def _report(self, client: Client) -> None:
        client.run(self._let_it_run)
        client.run(REPORT)
        client.note("done")
        client.rest(self._pace.between_reports)

    def _hold_a_row(self, client: Client) -> None:
        """Leave a transaction open, as a person does who goes to lunch, until the session is closed."""
        client.run(self._let_it_run)
        client.run("BEGIN")
        client.run(BLOCKED_ROW.format(step=40))
        client.note("holding")
        self._row_is_held.set()
        while not client.has_ended:
            client.rest(3600)
        client.run("COMMIT")

    def _writer(self, step: int) -> Callable[[Client], None]:
        def work(client: Client) -> None:
            self._row_is_held.wait(10)
            client.run(self._let_it_run)
            client.run(BLOCKED_ROW.format(step=step))
            client.note("done")
            client.rest(self._pace.between_writes)

        return work


def loopback_source(host: str, number: int) -> str:
    """Return 127.0.0.`number` as a client's address; empty where it cannot be one (macOS, another host)."""
    if not host.startswith("127."):
        return ""
    address = f"127.0.0.{number}"
    with socket.socket() as probe:
        try:
            probe.bind((address, 0))
        except OSError:
            return ""
    return address
