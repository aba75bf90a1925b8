"""The command line: run, check, demo."""

from __future__ import annotations

import argparse
import importlib.util
import shutil
import sys
from collections.abc import Sequence

import structlog

from bot import __version__
from bot.errors import ConfigurationError
from bot.operations import logs, preflight, reports
from bot.operations.lifecycle import ignore_hangups
from bot.settings import load
from bot.slack.escaping import visible
from bot.wiring import data_source, serve, slack_client

log = structlog.get_logger("bot")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="session-bot", description="See and close OceanBase sessions from the incident channel in Slack."
    )
    parser.add_argument("--version", action="version", version=f"session-bot {__version__}")
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="run|check|demo")
    verbs.add_parser("run", help="start the bot with the configuration of the environment and session-bot.toml")
    trial = verbs.add_parser(
        "check", help="read the configuration, try everything, say what works, what works with less and what does not"
    )
    trial.add_argument("--strict", action="store_true", help="exit with 1 also where something works with less")
    verbs.add_parser("demo", help="start an embedded OceanBase, a page like Slack and the bot on this machine")
    given = parser.parse_args(arguments)
    sys.excepthook = logs.ended
    if given.verb == "check":
        return check(strict=given.strict)
    return {"run": run, "demo": demo}[given.verb]()


def check(*, strict: bool = False) -> int:
    """Try everything the configuration names; 0 when all of it works that can be tried, with less or not.

    ``strict``: 1 also where something works with less.
    """
    logs.set_up()
    loaded = load()
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
    print(reports.labelled("read", loaded.read, width))
    found = preflight.everything(loaded, slack_client(loaded.slack) if loaded.slack else None, data_source)
    for line in reports.lines(found, width):
        print(line)
    print(reports.summary(found))
    return reports.exit_status(found, strict=strict)


def run() -> int:
    """Start the bot and stop it on SIGTERM or Ctrl-C."""
    logs.set_up()
    ignore_hangups()
    loaded = load()
    log.info("configuration", read=loaded.read)
    for warning in loaded.warnings:
        log.warning("configuration", warning=warning)
    client = slack_client(loaded.slack) if loaded.slack else None
    refused = preflight.refusals(loaded, client, data_source)
    if refused or client is None or loaded.slack is None or loaded.settings is None:
        print("session-bot does not start:", file=sys.stderr)
        for line in refused:
            print(f"problem  {visible(line)}", file=sys.stderr)
        return 1
    try:
        return serve(client, loaded.slack, loaded.settings)
    except ConfigurationError as error:
        print(f"session-bot does not start:\nproblem  {error}", file=sys.stderr)
        return 1


def demo() -> int:
    """Start the demo; it starts this bot unchanged as a process of its own."""
    if importlib.util.find_spec("sandbox") is None:
        print(
            "The demo is left out of this image: it runs on a machine of your own, after "
            'pip install "session-bot[demo]" there.',
            file=sys.stderr,
        )
        return 1
    missing = [name for name in ("starlette", "uvicorn", "websockets") if importlib.util.find_spec(name) is None]
    if missing:
        print(f'The demo needs {", ".join(missing)}. Install it with: pip install "session-bot[demo]"', file=sys.stderr)
        return 1
    from sandbox.demo.launch import run_demo  # noqa: PLC0415  # its dependencies are an extra

    return run_demo()


if __name__ == "__main__":
    sys.exit(main())
