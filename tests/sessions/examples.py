"""Sessions for tests that need no server."""

from __future__ import annotations

from bot.sessions.model import Client, Session, Transaction

MARIA_PASSWORD = "service-password"  # of the logins that conftest.py makes

EXAMPLE = Session(
    source="demo",
    server="10.0.0.1:2881",
    id=3221487826,
    tenant="shop",
    client=Client(user="app", peer="10.0.3.7:51234", origin="10.0.3.7:51234"),
    database="orders",
    command="Query",
    time=75.4,
    total_time=75.4,
    state="ACTIVE",
    sql="SELECT * FROM orders WHERE id = 5",
    sql_length=33,
    sql_id="A1B2",
    trace_id="YB42-1-0-0",
    transaction=Transaction(12, "ACTIVE"),
    master_session_id=None,
    retry_info=0,
    own=False,
)
