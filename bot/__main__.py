"""The command line: run, check, demo."""

from __future__ import annotations

import argparse
import importlib.util
import sys
from collections.abc import Sequence

from bot import __version__
from bot.errors import ConfigurationError
from bot.operations import logs, preflight
from bot.operations.lifecycle import ignore_hangups
from bot.operations.preflight import Verdict
from bot.settings import load
from bot.slack.escaping import visible
from bot.wiring import data_source, serve, slack_client


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="session-bot", description="See and close OceanBase sessions from the incident channel in Slack."
    )
    parser.add_argument("--version", action="version", version=f"session-bot {__version__}")
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="run|check|demo")
    verbs.add_parser("run", help="start the bot with the configuration of the environment and session-bot.toml")
    verbs.add_parser("check", help="read the configuration, connect to everything, say what works and what does not")
    verbs.add_parser("demo", help="start an embedded OceanBase, a page like Slack and the bot on this machine")
    verb = parser.parse_args(arguments).verb
    sys.excepthook = logs.ended
    return {"run": run, "check": check, "demo": demo}[verb]()


def check() -> int:
    """Try everything the configuration names; 0 when all of it works that can be tried."""
    logs.set_up()
    loaded = load()
    reports = preflight.everything(loaded, slack_client(loaded.slack) if loaded.slack else None, data_source)
    failing = [text for verdict, text in reports if verdict in (Verdict.FAILS, Verdict.AWAY)]
    for label, wanted in (("ok", Verdict.WORKS), ("untried", Verdict.UNTRIED)):
        for verdict, text in reports:
            if verdict is wanted:
                print(f"{label:9}{visible(text)}")
    for text in (*loaded.problems, *failing):
        print(f"problem  {visible(text)}")
    failed = bool(loaded.problems or failing)
    untried = any(verdict is Verdict.UNTRIED for verdict, _ in reports)
    well = "What could be tried works." if untried else "Everything works."
    print("Not everything works; see above." if failed else well)
    return 1 if failed else 0


def run() -> int:
    """Start the bot and stop it on SIGTERM or Ctrl-C."""
    logs.set_up()
    ignore_hangups()
    loaded = load()
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
