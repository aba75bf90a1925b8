"""The command line: run, check, reload, demo."""

from __future__ import annotations

import argparse
import contextlib
import gc
import importlib.util
import shutil
import sys
from collections.abc import Sequence

import structlog

from bot import __version__
from bot.errors import ConfigurationError
from bot.operations import exercise as exercising
from bot.operations import logs, preflight, reports
from bot.operations import reload as reloading
from bot.operations.lifecycle import ignore_hangups
from bot.operations.reports import Verdict
from bot.sessions.trial_session import Table
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
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="run|check|reload|demo")
    verbs.add_parser("run", help="start the bot with the configuration of the environment and session-bot.toml")
    trial = verbs.add_parser(
        "check", help="read the configuration, try everything, say what works, what works with less and what does not"
    )
    trial.add_argument("--strict", action="store_true", help="exit with 1 also where something works with less")
    trial.add_argument(
        "--exercise",
        action="store_true",
        help="open sessions of its own on each data source and close them, as a proof; prints no address and no text",
    )
    trial.add_argument(
        "--table",
        type=_table,
        metavar="DATABASE.TABLE",
        help="with --exercise: lock the first row of this table for a while, to find the lock; make one for this",
    )
    verbs.add_parser("reload", help="make the bot that runs here read its configuration again, and wait until it has")
    verbs.add_parser("demo", help="start an embedded OceanBase, a page like Slack and the bot on this machine")
    given = parser.parse_args(arguments)
    if given.verb == "check" and given.table is not None and not given.exercise:
        parser.error("--table goes with --exercise")
    sys.excepthook = logs.ended
    # What is imported by now stays: no garbage collection looks through it, nor does the one at the end, which takes
    # 0.2 s of a CPU else.
    gc.freeze()
    # An answer about hundreds of sessions makes thousands of objects, and next to no cycles: with Python's 700 the
    # collector would look through them five times a command, 1.6 ms of 20.
    gc.set_threshold(10_000)
    if given.verb == "check":
        return exercise(given.table, strict=given.strict) if given.exercise else check(strict=given.strict)
    return {"run": run, "reload": reload, "demo": demo}[given.verb]()


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


def _table(text: str) -> Table:
    try:
        return Table.named(text)
    except ValueError:
        raise argparse.ArgumentTypeError("name it as DATABASE.TABLE") from None


def exercise(table: Table | None, *, strict: bool = False) -> int:
    """Open, list and close sessions of its own on each data source that is readable; the status is as ``check``'s.

    What is wrong with the configuration goes to standard error: it may name what no bug report should.
    """
    logs.set_up()
    loaded = load()
    for text in loaded.problems:
        print(f"problem  {visible(text)}", file=sys.stderr)
    found = []
    for name, settings in loaded.data_sources.items():
        with contextlib.closing(data_source(name, settings)) as source:
            found.append(exercising.exercise(source, table, read_only=settings.read_only))
    for line in exercising.lines(found, __version__):
        print(visible(line, lines=True))
    tried = [(step.verdict, "") for one in found for step in one.steps]
    tried += [(Verdict.FAILS, "") for _ in loaded.problems]
    print(f"\n{reports.summary(tried)}")
    return reports.exit_status(tried, strict=strict)


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


def reload() -> int:
    """Make the bot that runs here read its configuration again; 0 when it works with it, else it says why not."""
    try:
        reloading.reload(load().slack)
    except ConfigurationError as error:
        print(f"problem  {error}", file=sys.stderr)
        return 1
    return 0


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
