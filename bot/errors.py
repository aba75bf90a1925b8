"""What can go wrong, as exceptions that carry the sentence their user reads.

SessionBotError
├── ConfigurationError          settings are wrong; every problem at once
│   └── PortInUseError          somebody else listens there
├── InputError                  what was typed is not understood
│   ├── SourceOpenError         several data sources could be meant
│   └── UnknownStatusError      no session has such a status
├── NotAllowedError             the access rules say no
├── PersonUnknownError          Slack did not say who somebody is, so that the rules say neither yes nor no
├── SlackRefusedError           Slack did not take what somebody must have
├── AnsweredElsewhereError      another replica answers this delivery: nobody is told anything
├── TargetError                 the session asked for is not one that may be closed
│   └── AlreadyClosedError      it is ending already
├── RequestError                a closing request is over, unknown or not this person's
├── BudgetError                 so much was closed there within a short time that somebody must agree to more
├── StoreError                  requests and records cannot be written or read
│   ├── StoreAwayError          its database or file fails: the store itself says so in the log
│   └── StoreTooNewError        only newer bots may work on it
├── BusyError                   too much is waiting already
├── StoppedError                the bot ends before it could see what came of a close
└── DataSourceError             the database did not do what was asked
    ├── DataSourceUnreachableError
    │   └── AccountLimitError   the login's own limit, max_user_connections for example, is used up
    ├── DataSourceTimeoutError
    ├── ConnectionLostError     the connection broke under a statement
    ├── LoginRefusedError
    │   └── UnsafeConnectionError  the bot itself does not log in: not as safe as the configuration wants it
    ├── PrivilegeMissingError
    ├── UnknownSessionError     the server knows no session of that id (1094)
    ├── NotSessionOwnerError    the server refuses to let this login close it (1095)
    └── SessionOutOfReachError  a proxy does not know it, and its own server cannot be asked: nothing was closed
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime


class SessionBotError(Exception):
    """Root of all errors that a person is told about; ``str()`` is the sentence shown."""

    @property
    def sentence(self) -> str:
        """The text for the person, plain text without markup."""
        return str(self)


class ConfigurationError(SessionBotError):
    """The configuration is unusable; ``problems`` holds one sentence for each key that is wrong."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("; ".join(problems))
        self.problems = problems


class PortInUseError(ConfigurationError):
    """Somebody else listens at the port that the bot should; it may be another bot."""


class InputError(SessionBotError):
    """What was typed is not understood.

    ``spot`` is the part of the input that is wrong (to be marked), ``example`` a command that runs.
    """

    def __init__(self, sentence: str, *, spot: str = "", example: str = "") -> None:
        super().__init__(sentence)
        self.spot = spot
        self.example = example


class SourceOpenError(InputError):
    """Several data sources could be meant; ``choices`` names them."""

    def __init__(self, sentence: str, *, choices: Sequence[str], example: str) -> None:
        super().__init__(sentence, example=example)
        self.choices = tuple(choices)


class UnknownStatusError(InputError):
    """No session has such a status, which is the ``spot``; ``meant`` is the one that probably was."""

    def __init__(self, sentence: str, *, spot: str, example: str, meant: str) -> None:
        super().__init__(sentence, spot=spot, example=example)
        self.meant = meant


class NotAllowedError(SessionBotError):
    """The access rules do not let this person do that here.

    ``who`` names those who may instead: ids of people and user groups, as far as rules name any; ``channels``, by
    their ids, where this person may ask for it.
    """

    def __init__(self, sentence: str, *, who: Sequence[str] = (), channels: Sequence[str] = ()) -> None:
        super().__init__(sentence)
        self.who = tuple(who)
        self.channels = tuple(channels)


class PersonUnknownError(SessionBotError):
    """Slack did not say who somebody is and an access rule depends on it: neither allowed nor refused.

    ``what`` is what it did not say, as it stands behind "Slack did not say", ``why`` its reason in a few words, and
    ``advice`` what to do, without a capital and a full stop.
    """

    def __init__(self, what: str, why: str, advice: str) -> None:
        super().__init__(f"Slack did not say {what} ({why}). Nothing was done; {advice}.")
        self.why = why
        self.advice = advice

    def of(self, what: str) -> PersonUnknownError:
        """Return the same about something else that Slack did not say."""
        return PersonUnknownError(what, self.why, self.advice)


class SlackRefusedError(SessionBotError):
    """Slack did not take what somebody must have, such as a file or a window."""


class AnsweredElsewhereError(SessionBotError):
    """Another replica answers this delivery, or has opened its window: whoever hears of this says nothing."""


class TargetError(SessionBotError):
    """The session asked for does not exist, is ambiguous, protected or the bot's own.

    ``why`` says it without naming the session, for one of several. ``tenants`` are those of the sessions that it is
    about, and any that it names.
    """

    def __init__(self, sentence: str, *, why: str = "", tenants: Collection[str | None] = ()) -> None:
        super().__init__(sentence)
        self.why = why or sentence
        self.tenants = tuple(dict.fromkeys(tenants))


class AlreadyClosedError(TargetError):
    """The session asked for is ending already: nothing was sent.

    ``by`` is the Slack id of whoever closed it and ``at`` when; '' and None where that is not known.
    """

    def __init__(
        self,
        sentence: str,
        *,
        why: str = "",
        tenants: Collection[str | None] = (),
        by: str = "",
        at: datetime | None = None,
    ) -> None:
        super().__init__(sentence, why=why, tenants=tenants)
        self.by = by
        self.at = at


class RequestError(SessionBotError):
    """A closing request is unknown, expired, used up or belongs to somebody else.

    ``first`` is the Slack id of whoever was quicker, '' where nobody was.
    """

    def __init__(self, sentence: str, *, first: str = "") -> None:
        super().__init__(sentence)
        self.first = first


class BudgetError(SessionBotError):
    """So much was closed on ``source`` within a short time that somebody who may approve must agree to more.

    ``extended`` is the number of the newest record of somebody having agreed to more, 0 where nobody has of late.
    """

    def __init__(self, sentence: str, *, source: str, extended: int = 0) -> None:
        super().__init__(sentence)
        self.source = source
        self.extended = extended


class StoreError(SessionBotError):
    """The store of requests and records does not answer; nothing may be closed without it."""


class StoreAwayError(StoreError):
    """Its database or file fails. The store itself says so in the log, once a minute, and when it is back."""


class StoreTooNewError(StoreError):
    """A newer bot has prepared the store in a way that this one would misread or spoil."""


class BusyError(SessionBotError):
    """Too many commands are waiting already; this one was not taken."""


class StoppedError(SessionBotError):
    """The bot is being stopped and what was sent is not yet seen to have worked; its record is finished later."""


class DataSourceError(SessionBotError):
    """A data source failed; ``errno`` is its error number, 0 where it gave none."""

    def __init__(self, sentence: str, *, errno: int = 0) -> None:
        super().__init__(sentence)
        self.errno = errno


class DataSourceUnreachableError(DataSourceError):
    """No connection could be made."""


class AccountLimitError(DataSourceUnreachableError):
    """The account of the bot's login has used up a limit of its own.

    ``connections``: it has as many open as it may, else it has done as much within an hour.
    """

    def __init__(self, sentence: str, *, errno: int = 0, connections: bool = False) -> None:
        super().__init__(sentence, errno=errno)
        self.connections = connections


class DataSourceTimeoutError(DataSourceError):
    """The data source did not answer in time."""


class ConnectionLostError(DataSourceError):
    """The connection broke while a statement was under way: it may or may not have run."""


class LoginRefusedError(DataSourceError):
    """User, password, tenant or cluster are not accepted (OceanBase answers 1045 for all of them)."""


class UnsafeConnectionError(LoginRefusedError):
    """The server is not as safe to log in to as the setting ``tls`` wants; the password was not sent."""


class PrivilegeMissingError(DataSourceError):
    """The bot's login lacks a privilege."""


class UnknownSessionError(DataSourceError):
    """The server knows no session of that id (errno 1094)."""


class NotSessionOwnerError(DataSourceError):
    """The server does not let this login close that session (errno 1095)."""


class SessionOutOfReachError(DataSourceError):
    """The session is there, but no server that would close it could be asked. Nothing was closed."""
