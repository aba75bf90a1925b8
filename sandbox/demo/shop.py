"""The demo's data: three databases with a few tables and rows, their users, and the bot's own account."""

import secrets
from collections.abc import Mapping

from pymysql.connections import Connection
from pymysql.cursors import Cursor

DATABASES = ("shop", "billing", "reports")

TABLES = (
    """CREATE TABLE IF NOT EXISTS shop.customers (
        id INT PRIMARY KEY, name VARCHAR(60) NOT NULL, region VARCHAR(20) NOT NULL)""",
    """CREATE TABLE IF NOT EXISTS shop.orders (
        id INT PRIMARY KEY, customer_id INT NOT NULL, amount DECIMAL(10, 2) NOT NULL,
        status VARCHAR(20) NOT NULL, ordered_at DATETIME NOT NULL)""",
    """CREATE TABLE IF NOT EXISTS shop.stock (
        sku VARCHAR(20) PRIMARY KEY, quantity INT NOT NULL)""",
    """CREATE TABLE IF NOT EXISTS billing.invoices (
        id INT PRIMARY KEY, order_id INT NOT NULL, amount DECIMAL(10, 2) NOT NULL,
        paid BOOLEAN NOT NULL)""",
    """CREATE TABLE IF NOT EXISTS reports.daily_revenue (
        day DATE PRIMARY KEY, revenue DECIMAL(14, 2) NOT NULL)""",
)

GRANTS: Mapping[str, tuple[str, ...]] = {
    "app": ("SELECT, INSERT, UPDATE ON shop.*",),
    "billing": ("SELECT ON shop.*", "SELECT, INSERT, UPDATE ON billing.*"),
    "report": ("SELECT ON shop.*", "SELECT ON billing.*", "SELECT, INSERT ON reports.*"),
    "batch": ("SELECT, UPDATE ON shop.*", "SELECT ON billing.*"),
    "admin": (),  # looks on, without a database
}

BOT_USER = "session_bot"
# Enough on seekdb 1.3 and 1.4 (measured): with it the session, lock and transaction views can be read, and
# every account of tenant sys may close every session without a privilege. PROCESS or SUPER open no view.
BOT_GRANT = "SELECT ON oceanbase.*"
MARIADB_BOT_GRANT = "PROCESS, CONNECTION ADMIN ON *.*"

REGIONS = ("north", "south", "east", "west")
ORDER_COUNT = 600


def create_databases(connection: "Connection[Cursor]") -> None:
    """Create the databases and tables that are not there yet and fill the empty ones."""
    with connection.cursor() as cursor:
        for name in DATABASES:
            cursor.execute(f"CREATE DATABASE IF NOT EXISTS {name}")
        for statement in TABLES:
            cursor.execute(statement)
        cursor.execute("SELECT COUNT(*) FROM shop.stock")
        if cursor.fetchone() == (0,):
            _fill(cursor)
    connection.commit()


def create_users(connection: "Connection[Cursor]") -> dict[str, str]:
    """Create the workload's users with the rights that they need; return their new passwords by name."""
    return {user: _create_user(connection, user, grants) for user, grants in GRANTS.items()}


def create_bot_account(connection: "Connection[Cursor]", grant: str = BOT_GRANT) -> tuple[str, str]:
    """Create the account that the bot lists and closes sessions with; return its name and password."""
    return BOT_USER, _create_user(connection, BOT_USER, (grant,))


def _create_user(connection: "Connection[Cursor]", user: str, grants: tuple[str, ...]) -> str:
    password = secrets.token_urlsafe(16)
    with connection.cursor() as cursor:
        cursor.execute(f"CREATE USER IF NOT EXISTS {user} IDENTIFIED BY %s", (password,))
        cursor.execute(f"ALTER USER {user} IDENTIFIED BY %s", (password,))
        for grant in grants:
            cursor.execute(f"GRANT {grant} TO {user}")
    return password


def _fill(cursor: Cursor) -> None:
    customers = [(n, f"Customer {n:03}", REGIONS[n % len(REGIONS)]) for n in range(1, 61)]
    orders = [(n, n % 60 + 1, 10 + n % 190, "paid" if n % 9 else "open", n) for n in range(1, ORDER_COUNT + 1)]
    cursor.executemany("INSERT INTO shop.customers VALUES (%s, %s, %s)", customers)
    cursor.executemany(
        "INSERT INTO shop.orders VALUES (%s, %s, %s, %s, NOW() - INTERVAL %s HOUR)",
        orders,
    )
    cursor.executemany(
        "INSERT INTO billing.invoices VALUES (%s, %s, %s, %s)",
        [(number, number, amount, status == "paid") for number, _, amount, status, _ in orders],
    )
    cursor.executemany(
        "INSERT INTO shop.stock VALUES (%s, %s)",
        [(f"SKU-{n}", 1000 * n) for n in range(1, 6)],
    )
