"""What error numbers become: the kind of error and a sentence that says what to do."""

from __future__ import annotations

import pytest
from pydantic import SecretStr

from bot.errors import (
    AccountLimitError,
    ConnectionLostError,
    DataSourceError,
    DataSourceTimeoutError,
    DataSourceUnreachableError,
    LoginRefusedError,
    NotSessionOwnerError,
    PrivilegeMissingError,
    UnknownSessionError,
)
from bot.sessions.driver_errors import failure
from bot.sessions.endpoint import Endpoint

ENDPOINT = Endpoint("prod", "10.0.0.1", 2881, "bot@ora", SecretStr("hunter2"))


@pytest.mark.parametrize(
    ("errno", "text", "kind", "said"),
    [
        (1235, "Not supported feature", DataSourceError, "answered with error 1235: Not supported feature"),
        (1045, "Access denied", LoginRefusedError, "refused the login of bot@ora"),
        (1094, "Unknown thread id: 5", UnknownSessionError, "Unknown thread id: 5"),
        (1957, "Unknown query id: 80", UnknownSessionError, "Unknown query id: 80"),
        (1095, "You are not owner of thread 5", NotSessionOwnerError, "CONNECTION_ADMIN"),
        (1227, "Access denied; you need the PROCESS privilege", PrivilegeMissingError, "GRANT PROCESS ON *.*"),
        (1040, "Too many connections", DataSourceUnreachableError, "connection limit"),
        (1203, "User bot already has more than 'max_user_connections'", AccountLimitError, "as many connections open"),
        (1969, "max_statement_time exceeded", DataSourceTimeoutError, "did not answer within"),
        (3024, "maximum statement execution time exceeded", DataSourceTimeoutError, "did not answer within"),
        (4012, "Timeout", DataSourceTimeoutError, "did not answer within"),
        (1927, "Connection was killed", ConnectionLostError, "broke"),
        (4031, "The client was disconnected by the server", ConnectionLostError, "broke"),
        (1053, "Server shutdown in progress", ConnectionLostError, "broke"),
        (9999, "Something else", DataSourceError, "answered with error 9999: Something else"),
    ],
)
def test_each_number_becomes_a_sentence(errno: int, text: str, kind: type[DataSourceError], said: str) -> None:
    error = failure(ENDPOINT, errno, text)
    assert type(error) is kind
    assert said in error.sentence
    assert "prod" in error.sentence
    assert error.errno == errno
    assert "hunter2" not in error.sentence


@pytest.mark.parametrize(
    ("errno", "text", "kind", "said"),
    [
        (1235, "Oracle tenant for current client driver …", LoginRefusedError, "Log in to the sys tenant"),
        (1129, "Host '10.0.3.7' is blocked because of many connection errors", LoginRefusedError, "Run FLUSH HOSTS"),
        (1130, "Host '10.0.3.7' is not allowed to connect", LoginRefusedError, "(Host '10.0.3.7' is not allowed"),
        (1251, "Client does not support authentication protocol", LoginRefusedError, "Set its password anew"),
        (1044, "Access denied for user 'bot'@'%' to database 'a'", LoginRefusedError, "to database 'a' (error 1044)"),
        (1235, "login meta tenant not supported", LoginRefusedError, "login meta tenant not supported (error 1235)"),
        (4666, "Cluster does not match", LoginRefusedError, "user@tenant#cluster"),
        (5150, "Tenant not in this server", LoginRefusedError, "Name an observer that has the tenant"),
        (8001, "Server is initializing", DataSourceUnreachableError, "Server is initializing. Try again"),
        (7777, "Anything", LoginRefusedError, "Anything (error 7777)"),
        (1040, "Too many connections", DataSourceUnreachableError, "connection limit"),
        (2003, "Can't connect to MySQL server (Connection refused)", DataSourceUnreachableError, "cannot be reached"),
    ],
)
def test_what_a_server_says_to_a_login_refuses_it_unless_it_is_known_not_to(
    errno: int, text: str, kind: type[DataSourceError], said: str
) -> None:
    error = failure(ENDPOINT, errno, text, at_login=True)
    assert type(error) is kind
    assert said in error.sentence
    assert error.errno == errno
