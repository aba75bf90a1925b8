"""The bot that one writes in an afternoon: `/sessions` answers with the whole process list, in one message."""

import os
import threading

import pymysql
from slack_bolt import Ack, App, Respond
from slack_bolt.adapter.socket_mode import SocketModeHandler
from slack_sdk import WebClient

app = App(client=WebClient(os.environ["SLACK_BOT_TOKEN"], base_url=os.environ["SLACK_API_URL"]))


@app.command("/sessions")
def sessions(ack: Ack, respond: Respond) -> None:
    """List everything."""
    ack()
    connection = pymysql.connect(
        host="127.0.0.1",
        port=int(os.environ["DATABASE_PORT"]),
        user="root",
        password=os.environ["DATABASE_PASSWORD"],
        ssl_disabled=True,
    )
    with connection, connection.cursor() as cursor:
        cursor.execute("SHOW FULL PROCESSLIST")
        header = " | ".join(column[0] for column in cursor.description)
        lines = [" | ".join(map(str, row)) for row in cursor.fetchall()]
    respond("```" + "\n".join([header, *lines]) + "```", response_type="in_channel")


if __name__ == "__main__":
    SocketModeHandler(app, os.environ["SLACK_APP_TOKEN"]).connect()  # type: ignore[no-untyped-call]  # so in Bolt
    threading.Event().wait()
