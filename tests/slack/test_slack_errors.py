"""What goes wrong with calls to Slack, as it comes over HTTP: what passes, what does not, and who is to blame."""

from __future__ import annotations

import re
import ssl
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from slack_sdk.errors import SlackClientError

from bot.errors import ConfigurationError
from bot.operations import preflight, slack_trial
from bot.operations.lifecycle import until_slack_answers
from bot.operations.reports import Verdict
from bot.settings import Loaded
from bot.slack.client import Client
from bot.slack.delivery.retries import one_try
from bot.slack.slack_errors import CALL_ERRORS, WORDS, Kind, SlackError, of_answer, slack_error

DOCUMENT = Path(__file__).parents[2] / "docs" / "slack.md"
PAGE = "<html><body>Please log in to ExampleProxy: invalid_auth</body></html>"


class Answering:
    """A server on the way to Slack; it answers everything with ``status``, ``body`` and ``headers``."""

    def __init__(self) -> None:
        self.status, self.body, self.headers = 200, "", dict[str, str]()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                self.rfile.read(int(self.headers.get("Content-Length") or 0))
                content = outer.body.encode()
                self.send_response(outer.status)
                for name, value in outer.headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *args: object) -> None:
                """Say nothing."""

        self.server = HTTPServer(("127.0.0.1", 0), Handler)

    @property
    def client(self) -> Client:
        """A client of the bot's that takes this for Slack."""
        url = f"http://127.0.0.1:{self.server.server_port}/api/"
        return Client("xoxb-any", url, timeout=5)


@pytest.fixture(scope="module")
def running() -> Iterator[Answering]:
    answering = Answering()
    threading.Thread(target=answering.server.serve_forever, daemon=True).start()
    yield answering
    answering.server.shutdown()
    answering.server.server_close()


Answer = Callable[..., Client]


@pytest.fixture
def answers(running: Answering) -> Answer:
    def set_(status: int, body: str, **headers: str) -> Client:
        running.status, running.body = status, body
        running.headers = {name.replace("_", "-"): value for name, value in headers.items()}
        return running.client

    return set_


def error_of(client: Client) -> SlackError:
    """What a call comes to."""
    with pytest.raises(CALL_ERRORS) as raised, one_try():
        client.auth_test()
    return slack_error(raised.value)


NOT_SLACKS = {
    "a login page": (200, PAGE),
    "a proxy that wants a login": (407, PAGE),
    "a proxy's own JSON": (407, '{"ok": false, "error": "invalid_auth"}'),
    "a gate's own JSON": (403, '{"ok": false, "error": "account_inactive"}'),
    "JSON without ok": (200, '{"error": "invalid_auth"}'),
    "broken JSON": (200, '{"ok": false, "error": "invalid_auth"'),
    "a list": (200, '["invalid_auth"]'),
    "a text": (200, '"invalid_auth"'),
    "nothing": (200, ""),
    "a page that is away": (502, PAGE),
    "not found": (404, PAGE),
}


@pytest.mark.parametrize("name", NOT_SLACKS)
def test_only_slacks_own_json_blames_a_token(answers: Answer, name: str) -> None:
    client = answers(*NOT_SLACKS[name])
    what = error_of(client)
    assert (what.kind, what.authorization, what.reached) == (Kind.PASSING, False, False)
    assert "invalid_auth" not in what.word + what.why
    assert "html" not in what.word + what.why + what.advice
    assert "install" not in what.advice
    (works, said), _ = slack_trial.token(client)
    assert works is Verdict.AWAY, "so that the bot starts, and asks again"
    assert "SLACK_BOT_TOKEN" not in said


def test_slacks_own_refusal_of_a_token_is_final_and_says_what_to_do(answers: Answer) -> None:
    for word in ("invalid_auth", "token_revoked", "account_inactive", "not_allowed_token_type", "missing_scope"):
        client = answers(200, f'{{"ok": false, "error": "{word}"}}')
        assert error_of(client).authorization
        (works, said), _ = slack_trial.token(client)
        assert works is Verdict.FAILS
        assert said.startswith("SLACK_BOT_TOKEN: Slack refuses it (")
        assert word in said
        assert "whoever runs this bot must" in said


def test_a_limit_and_a_failure_of_slack_pass(answers: Answer) -> None:
    limited = error_of(answers(429, '{"ok": false, "error": "ratelimited"}', Retry_After="30"))
    assert (limited.kind, limited.wait, limited.why) == (Kind.PASSING, 30.0, "rate limit, 30 s")
    assert error_of(answers(429, PAGE)).kind is Kind.PASSING
    for status, body in ((503, PAGE), (500, ""), (200, '{"ok": false, "error": "internal_error"}')):
        assert error_of(answers(status, body)).kind is Kind.PASSING


def test_a_scope_that_is_missing_is_named(answers: Answer) -> None:
    what = error_of(answers(200, '{"ok": false, "error": "missing_scope", "needed": "users:read", "provided": "x"}'))
    assert what.why == "the app lacks the scope users:read"
    assert "add the scope users:read" in what.advice
    forged = error_of(answers(200, '{"ok": false, "error": "missing_scope", "needed": "<!channel>"}'))
    assert "<" not in forged.why + forged.advice


def test_an_unknown_word_is_told_as_it_is_and_blames_nobody(answers: Answer) -> None:
    what = error_of(answers(200, '{"ok": false, "error": "brand_new_error"}'))
    assert (what.kind, what.final, what.authorization) == (Kind.OTHER, False, False)
    assert what.why == "Slack answered brand_new_error"


def test_what_never_reached_slack_is_told_without_a_host() -> None:
    client = Client("xoxb-any", "http://127.0.0.1:1/api/")
    what = error_of(client)
    assert (what.kind, what.reached, what.why) == (Kind.PASSING, False, "it cannot be reached, nothing listens there")
    assert slack_error(OSError("Tunnel connection failed: 407 Proxy Authentication Required")).word == "status_407"
    assert slack_error(ssl.SSLEOFError(8, "EOF occurred in violation of protocol (_ssl.c:2407)")).word == "no_tls"
    assert slack_error(TimeoutError("timed out")).why == "no answer in time"


def test_a_response_url_answers_with_words_of_its_own() -> None:
    for word in ("used_url", "expired_url", "no_service", "channel_not_found"):
        assert of_answer(404, word).kind is Kind.PLACE
    assert of_answer(404, "<html>").kind is Kind.PASSING


class Patience:
    """Signals that end nothing before so many pauses."""

    def __init__(self) -> None:
        self.waited: list[float] = []

    def end_within(self, seconds: float) -> bool:
        self.waited += [seconds] if seconds else []
        return False


def test_a_start_waits_for_what_passes_and_ends_at_what_does_not(answers: Answer) -> None:
    turns: list[Callable[[], Client]] = [
        lambda: answers(503, PAGE),
        lambda: answers(429, PAGE, Retry_After="40"),
        lambda: answers(200, '{"ok": false, "error": "internal_error"}'),
        lambda: answers(407, PAGE),
        lambda: answers(200, PAGE),
        lambda: answers(200, '{"ok": true, "team_id": "T1"}'),
    ]

    def ask() -> str:
        return str(turns.pop(0)().auth_test()["team_id"])

    patience = Patience()
    assert until_slack_answers(ask, patience, "SLACK_BOT_TOKEN") == "T1"  # type: ignore[arg-type]
    assert patience.waited == [1.0, 40.0, 4.0, 8.0, 16.0]
    client = answers(200, '{"ok": false, "error": "not_allowed_token_type"}')
    with pytest.raises(ConfigurationError, match=r"SLACK_APP_TOKEN: Slack refuses it .*not_allowed_token_type"):
        until_slack_answers(client.auth_test, Patience(), "SLACK_APP_TOKEN")  # type: ignore[arg-type]


def test_a_start_is_not_refused_for_what_passes(answers: Answer) -> None:
    nothing = Loaded(slack=None, settings=None, data_sources={}, problems=[])
    for status, body in ((503, PAGE), (429, PAGE), (200, '{"ok": false, "error": "internal_error"}'), (200, PAGE)):
        assert preflight.refusals(nothing, answers(status, body), lambda *_: pytest.fail("no data source")) == []


def test_the_table_of_the_document_is_that_of_the_code() -> None:
    section = DOCUMENT.read_text(encoding="utf-8").split("### 4.4 ")[1].split("\n## ")[0]
    documented: dict[str, str] = {}
    for kind, words in re.findall(r"^\| ([a-z]+) \|[^|]*\| ([^|]*) \|$", section, re.MULTILINE):
        documented |= dict.fromkeys(re.findall(r"`([a-z_]+)`", words), kind)
    assert documented == {word: kind.value for word, (kind, _, _) in WORDS.items()}


def test_every_word_says_why_and_what_to_do_in_a_way_that_fits_into_a_sentence() -> None:
    for word, (kind, why, advice) in WORDS.items():
        assert kind is not Kind.OTHER
        assert why, word
        assert not (why + advice).endswith("."), word
        assert (kind is Kind.PASSING) == advice.startswith("try again"), word


def test_what_the_sdk_raises_is_among_what_is_caught() -> None:
    assert SlackClientError in CALL_ERRORS
