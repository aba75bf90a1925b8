"""What goes wrong with a call to Slack: one table of its error words, whether they pass, and what to do.

The words are those that docs.slack.dev lists for the methods that the bot calls (docs/slack.md 4.4).
"""

from __future__ import annotations

import enum
import re
import socket
import ssl
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from slack_sdk.errors import SlackApiError, SlackClientError

# What a call to Slack may raise.
CALL_ERRORS = (SlackClientError, OSError)

_TRY_AGAIN = "try again"
_OPERATOR = "whoever runs this bot must "
_UP_TO_DATE = _OPERATOR + "bring it up to date, or report this"


class Kind(enum.Enum):
    """What an error is about. All but ``PASSING`` are final: the same call is refused again."""

    PASSING = "passing"  # a limit, a failure of Slack's own, or something between it and the bot
    TOKEN = "token"  # noqa: S105  # the token is none, or none any more
    APP = "app"  # how the app is installed or set up: a scope, a switch
    WORKSPACE = "workspace"  # what its administrators allow
    PLACE = "place"  # a channel or message that is gone, or closed to the bot
    PERSON = "person"  # somebody whom Slack does not know, or lets nobody write to
    WINDOW = "window"  # a trigger id that is used up or too old, or a window that was closed
    CONTENT = "content"  # what was sent is refused as it is
    OTHER = "other"  # a word that stands in no table: whether it passes is not known


@dataclass(frozen=True, slots=True)
class SlackError:
    """One failed call.

    ``word`` goes into logs and metrics: Slack's own, or a kind of failure; never a text from a page. ``why`` is a few
    words for people, ``advice`` what to do, without a capital and a full stop. ``wait`` is how many seconds Slack asks
    to wait, None where it does not say. ``reached`` says that Slack itself answered.
    """

    word: str
    kind: Kind
    why: str
    advice: str
    wait: float | None = None
    reached: bool = True

    @property
    def final(self) -> bool:
        """Whether the same call would be refused again."""
        return self.kind not in (Kind.PASSING, Kind.OTHER)

    @property
    def authorization(self) -> bool:
        """Whether a token or the app itself is refused: nothing helps until somebody changes that."""
        return self.kind in (Kind.TOKEN, Kind.APP)

    def refusing(self, token: str) -> str:
        """Say that a token is refused, which is named by its variable."""
        return f"{token}: Slack refuses it ({self.why}: {self.word}); {self.advice}"


def _rows(kind: Kind, advice: str, words: Mapping[str, str]) -> Iterator[tuple[str, tuple[Kind, str, str]]]:
    return ((word, (kind, why, advice)) for word, why in words.items())


# What the same methods answer to arguments that the bot does not send.
_NEVER_ASKED_FOR = (
    "insecure_request",
    "too_many_users",
    "invalid_cursor",
    "not_enough_users",
    "users_list_not_supplied",
    "as_user_not_supported",
    "cannot_reply_to_message",
    "draft_already_deleted",
    "draft_already_sent",
    "draft_has_conflict",
    "draft_not_found",
    "duplicate_channel_not_found",
    "duplicate_message_not_found",
    "invalid_metadata_format",
    "invalid_metadata_schema",
    "markdown_text_conflict",
    "metadata_must_be_sent_from_app",
    "metadata_too_large",
    "missing_file_data",
    "send_on_behalf_not_allowed",
    "too_many_contact_cards",
    "cant_broadcast_message",
    "no_dual_broadcast_content_update",
    "duplicate_external_id",
    "missing_profile_id",
    "not_implemented",
    "alt_txt_too_large",
    "unknown_subtype",
    "channels_limit_exceeded",
)

# What they answer to arguments that they cannot read.
_UNREADABLE = (
    "invalid_arguments",
    "invalid_arg_name",
    "invalid_array_arg",
    "invalid_charset",
    "invalid_form_data",
    "invalid_post_type",
    "missing_post_type",
    "missing_argument",
    "invalid_payload",
)

# By Slack's word: what it is about, in a few words, and what to do.
WORDS: Mapping[str, tuple[Kind, str, str]] = dict(
    [
        *_rows(
            Kind.PASSING,
            _TRY_AGAIN,
            {
                "ratelimited": "rate limit",
                "rate_limited": "rate limit",
                "message_limit_exceeded": "people of this workspace send too many messages",
                "internal_error": "Slack failed",
                "fatal_error": "Slack failed",
                "server_error": "Slack failed",
                "update_failed": "Slack failed",
                "service_unavailable": "Slack is not available",
                "request_timeout": "what was sent did not reach Slack whole",
                "team_added_to_org": "the workspace is being moved into an organisation",
                "org_login_required": "the workspace is being moved into an organisation",
                "external_channel_migrating": "the channel is being moved",
                "hash_conflict": "the window was changed meanwhile",
                "file_update_failed": "Slack failed at the file",
                "file_not_found": "Slack lost the file",
                "file_deleted": "Slack lost the file",
                "file_is_deleted": "Slack lost the file",
                "unable_to_share_files": "Slack failed at the file",
                "streaming_state_conflict": "the message is being written",
            },
        ),
        *_rows(
            Kind.TOKEN,
            _OPERATOR + "install the Slack app anew and give the bot its new token",
            {
                "invalid_auth": "the token is refused, or this network is not among those that the app allows",
                "not_authed": "no token was given",
                "account_inactive": "the token is of an app or workspace that was removed",
                "token_revoked": "the token was revoked",
                "token_expired": "the token has expired",
            },
        ),
        *_rows(
            Kind.TOKEN,
            _OPERATOR + "set the bot's token (xoxb-…) as SLACK_BOT_TOKEN and the app's (xapp-…) as SLACK_APP_TOKEN",
            {
                "not_allowed_token_type": "a token of another kind is needed",
                "missing_args": "no token of the app was given",
            },
        ),
        *_rows(
            Kind.APP,
            _OPERATOR + "add the scopes of the manifest to the Slack app and install it anew",
            {
                "missing_scope": "the app lacks a scope",
                "no_permission": "the app lacks a permission",
            },
        ),
        *_rows(
            Kind.APP,
            _OPERATOR + "see in the Slack app's settings what it is allowed",
            {
                "access_denied": "access is denied to the app",
                "app_access_restricted": "the app may not be used by this person",
                "accesslimited": "the workspace does not allow this network",
                "ekm_access_denied": "administrators have suspended access",
                "enterprise_is_restricted": "the app may not be used for a whole organisation",
                "forbidden_team": "the workspace may not use this",
                "two_factor_setup_required": "two-factor authentication must be set up first",
                "is_bot": "a bot may not do this",
            },
        ),
        *_rows(
            Kind.APP,
            _OPERATOR + "switch it on in the Slack app's settings, as the manifest has it",
            {
                "socket_mode_not_enabled": "Socket Mode is off for the app",
                "messages_tab_disabled": "the Messages tab of the app is off",
                "not_enabled": "the Home tab of the app is off",
            },
        ),
        *_rows(
            Kind.WORKSPACE,
            "ask an administrator of the workspace to allow it",
            {
                "file_uploads_disabled": "file uploads are off in this workspace",
                "file_uploads_except_images_disabled": "only images may be uploaded in this workspace",
                "file_upload_size_restricted": "the workspace does not allow files of this size",
                "file_type_not_allowed": "the workspace does not allow this type of file",
                "blocked_file_type": "the workspace does not allow this type of file",
                "file_share_limit_reached": "the workspace does not let files be shared more often",
                "max_file_sharing_exceeded": "the workspace does not let files be shared more often",
                **dict.fromkeys(
                    (
                        "slack_connect_blocked_file_type",
                        "slack_connect_canvas_sharing_blocked",
                        "slack_connect_clip_sharing_blocked",
                        "slack_connect_file_link_sharing_blocked",
                        "slack_connect_file_upload_sharing_blocked",
                        "slack_connect_lists_sharing_blocked",
                    ),
                    "the workspace does not let files be shared with others",
                ),
                "storage_limit_reached": "the workspace has no room for files left",
                "posting_to_channel_denied": "the workspace does not let the bot share files there",
                "restricted_action": "the workspace does not let the bot post there",
                "action_prohibited": "the workspace does not let the bot post there",
                "posting_to_general_channel_denied": "the workspace does not let the bot post there",
                "restricted_action_read_only_channel": "nobody may post in this channel",
                "restricted_action_thread_only_channel": "only threads may be posted in this channel",
                "restricted_action_non_threadable_channel": "threads may not be posted in this channel",
                "restricted_action_thread_locked": "the thread is locked",
            },
        ),
        *_rows(
            Kind.WORKSPACE,
            _OPERATOR + "name people by their ids in the access rules",
            {
                "plan_upgrade_required": "this workspace has no user groups",
            },
        ),
        *_rows(
            Kind.PLACE,
            "ask in another channel, or invite the bot to this one",
            {
                "channel_not_found": "the channel is gone, or the bot is not in it",
                "not_in_channel": "the bot is not in the channel",
                "invalid_channel": "the channel is gone, or the bot is not in it",
                "is_archived": "the channel is archived",
                "is_inactive": "the channel is archived",
                "channel_is_archived": "the channel is archived",
                "method_not_supported_for_channel_type": "not possible in this kind of channel",
                "team_not_found": "the workspace is not known to the app",
            },
        ),
        *_rows(
            Kind.PLACE,
            "ask an administrator of the organisation to add the Slack app to this workspace",
            {
                "team_access_not_granted": "the app was not added to this workspace",
            },
        ),
        *_rows(
            Kind.PLACE,
            "run the command again",
            {
                "message_not_found": "the message is gone",
                "thread_not_found": "the thread is gone",
                "cant_update_message": "the message is not the bot's to rewrite",
                "edit_window_closed": "the workspace lets nobody rewrite a message of that age",
                "used_url": "the answers to one command are used up",
                "expired_url": "the command was too long ago",
                "no_service": "Slack does not know the way back to the command any more",
            },
        ),
        *_rows(
            Kind.PERSON,
            "ask in a channel instead",
            {
                "cannot_dm_bot": "the bot cannot write to another bot",
                "user_disabled": "the person is deactivated",
                "user_not_in_channel": "the person is not in the channel",
                "invalid_user_combination": "the bot and the person share no channel",
            },
        ),
        *_rows(
            Kind.PERSON,
            _OPERATOR + "name people and user groups of this workspace",
            {
                "user_not_found": "Slack does not know this person",
                "users_not_found": "Slack does not know this person",
                "user_not_visible": "the app may not see this person",
                "no_such_subteam": "there is no such user group",
            },
        ),
        *_rows(
            Kind.WINDOW,
            "press the button once more",
            {
                "expired_trigger_id": "it took longer than three seconds",
                "exchanged_trigger_id": "the press has opened a window already",
                "invalid_trigger_id": "the press cannot open a window",
                "not_found": "the window was closed",
                "push_limit_reached": "too many windows are open",
            },
        ),
        *_rows(
            Kind.CONTENT,
            "narrow what you ask for",
            {
                "invalid_blocks": "Slack does not take this kind of message",
                "invalid_blocks_format": "Slack does not take this kind of message",
                "invalid_attachments": "Slack does not take this kind of message",
                "block_mismatch": "Slack does not take this kind of message",
                "msg_blocks_too_long": "the message is too long",
                "msg_too_long": "the message is too long",
                "no_text": "the message is empty",
                "view_too_large": "there is too much to show",
                "snippet_too_large": "the file is larger than 1 MB",
                "too_many_attachments": "the message is too long",
                "attachment_payload_limit_exceeded": "the message is too long",
            },
        ),
        *_rows(
            Kind.CONTENT,
            _UP_TO_DATE,
            {
                **dict.fromkeys((*_NEVER_ASKED_FOR, *_UNREADABLE), "Slack does not take what the bot asks for"),
                "unknown_snippet_type": "Slack does not know this type of file",
                "unknown_method": "Slack does not offer this any more",
                "method_deprecated": "Slack does not offer this any more",
                "deprecated_endpoint": "Slack does not offer this any more",
            },
        ),
    ]
)

# How Slack says that it does not take blocks: in answers of chat.* and of response URLs, and for views.
BLOCKS_REFUSED = ("invalid_blocks", "invalid_blocks_format", "invalid_attachments", "msg_blocks_too_long")
VIEW_REFUSED = (*BLOCKS_REFUSED, "invalid_arguments", "view_too_large")
LIMITED = ("ratelimited", "rate_limited")
# How it says that there is no such person or user group: an answer, and no failure to give one.
NO_PERSON = ("user_not_found", "users_not_found", "user_not_visible")
NO_GROUP = "no_such_subteam"
# Slack may have carried out what it answers with one of these (docs/slack.md 4.2).
FAILED = ("internal_error", "fatal_error", "server_error", "service_unavailable", "request_timeout")

_WORD = re.compile(r"[a-z][a-z0-9_]{1,99}", re.ASCII)
# How urllib and urllib3 tell that a proxy lets nobody through. Errors of TLS end in a number as well, of a line of C.
_PROXY_LOGIN = re.compile(r"(?<![\w.:])407\b", re.ASCII)
_SCOPE = re.compile(r"[a-z:,._ -]{1,200}", re.ASCII)
_NETWORK = _OPERATOR + "check the network, the proxy and SLACK_API_URL"


def slack_error(error: Exception) -> SlackError:
    """Say what went wrong with a call of the Web API; ``error`` is one of ``CALL_ERRORS``."""
    if not isinstance(error, SlackApiError):
        return _unreached(error)
    response = error.response
    status = int(getattr(response, "status_code", 200))
    data = getattr(response, "data", response)
    headers = {str(name).lower(): value for name, value in (getattr(response, "headers", None) or {}).items()}
    wait = headers.get("retry-after", "")
    wait = wait[0] if isinstance(wait, list) and wait else wait
    word = str(data.get("error")) if isinstance(data, Mapping) and data.get("ok") is False else ""
    return of_answer(status, word, retry_after=str(wait), needed=_needed(data))


def of_answer(status: int, word: str, *, retry_after: str = "", needed: str = "") -> SlackError:
    """Say what an answer means: its HTTP status, and the ``word`` that its body gives as error, '' for none.

    Slack answers with 200 and a word of its own, with 429 when it limits, and with 5xx when it fails; a response URL
    with 4xx and a word. Whatever else comes is of something on the way, and says nothing of Slack.
    """
    if status == 429:
        return _limited(word, retry_after)
    known = _WORD.fullmatch(word) is not None
    if status >= 500:
        kind, why, advice = WORDS["service_unavailable" if status == 503 else "internal_error"]
        return SlackError(word if known else f"status_{status}", kind, f"{why}, HTTP {status}", advice, reached=known)
    if not known or (status != 200 and WORDS.get(word, (Kind.TOKEN,))[0] in (Kind.TOKEN, Kind.APP)):
        # Only Slack's own JSON may blame a token or the app: what answers here may be anybody.
        what = "a proxy wants a login" if status == 407 else "something that is not Slack answered"
        return SlackError(f"status_{status}", Kind.PASSING, f"{what}, HTTP {status}", _NETWORK, reached=False)
    if word in LIMITED:
        return _limited(word, retry_after)
    kind, why, advice = WORDS.get(word, (Kind.OTHER, f"Slack answered {word}", _TRY_AGAIN))
    if word == "missing_scope" and needed:
        why = f"the app lacks the scope {needed}"
        advice = _OPERATOR + f"add the scope {needed} to the Slack app and install it anew"
    return SlackError(word, kind, why, advice)


def of_app_token(error: SlackError) -> SlackError:
    """Say the same of a call that was made with the app's token: installing the app anew makes no new one of those."""
    if error.kind is Kind.TOKEN or error.word in ("missing_scope", "no_permission"):
        return replace(error, advice=_OPERATOR + _MAKE_ANOTHER)
    return error


_MAKE_ANOTHER = (
    "make an app-level token with the scope connections:write, under Basic Information of the Slack app, and set it as "
    "SLACK_APP_TOKEN"
)


def _limited(word: str, retry_after: str) -> SlackError:
    wait = float(retry_after) if retry_after.isdecimal() else None
    for_, in_ = (f", {wait:.0f} s", f" in {wait:.0f} s") if wait is not None else ("", " in a minute")
    name = word if word in LIMITED else LIMITED[0]
    return SlackError(name, Kind.PASSING, f"rate limit{for_}", _TRY_AGAIN + in_, wait)


def _unreached(error: Exception) -> SlackError:
    """Say why nothing was answered. The texts of such errors name hosts, so that only their kind is told."""
    if _PROXY_LOGIN.search(str(error)):
        return SlackError("status_407", Kind.PASSING, "a proxy wants a login, HTTP 407", _NETWORK, reached=False)
    reasons = (error, getattr(error, "reason", None), error.__cause__)
    if any(isinstance(one, TimeoutError) or "timed out" in str(one) for one in reasons):
        return SlackError("timeout", Kind.PASSING, "no answer in time", _TRY_AGAIN, reached=False)
    for kind, word, why in _UNREACHED:
        if any(isinstance(one, kind) for one in reasons):
            return SlackError(word, Kind.PASSING, why, _NETWORK, reached=False)
    return SlackError("unreachable", Kind.PASSING, "it cannot be reached", _TRY_AGAIN, reached=False)


_UNREACHED: tuple[tuple[type[Exception], str, str], ...] = (
    (socket.gaierror, "no_such_host", "it cannot be reached, its name leads nowhere"),
    (ssl.SSLCertVerificationError, "certificate", "it cannot be reached, its certificate is not trusted"),
    (ssl.SSLError, "no_tls", "it cannot be reached, there is no TLS with what answers"),
    (ConnectionRefusedError, "refused", "it cannot be reached, nothing listens there"),
)


_UNANSWERED = ("timeout", "unreachable", *(word for _, word, _ in _UNREACHED))
# What something on the way, or Slack without a word of its own, is known to answer with.
_STATUSES = (400, 401, 403, 404, 407, 410, 413, 429, 500, 502, 503, 504)
# The words that metrics show.
LABELS = frozenset((*WORDS, *_UNANSWERED, *(f"status_{status}" for status in _STATUSES)))


def kind_of(word: str) -> Kind:
    """Say what the ``word`` of a ``SlackError`` is about."""
    if word in WORDS:
        return WORDS[word][0]
    return Kind.PASSING if word in _UNANSWERED or word.startswith("status_") else Kind.OTHER


def _needed(data: Any) -> str:
    """Return the scope that Slack says is missing."""
    needed = str(data.get("needed") or "") if isinstance(data, Mapping) else ""
    return needed if _SCOPE.fullmatch(needed) else ""
