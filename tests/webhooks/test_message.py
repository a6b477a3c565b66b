"""What is in a message, how it is signed, and when it is tried again."""

import json

import pytest

from wsrunner.errors import BadMessageError
from wsrunner.webhooks.message import (
    PAUSE_MAX_S,
    PAUSES_S,
    Message,
    body_of,
    headers_of,
    key_of,
    lost_body,
    pack,
    pause_s,
    unpack,
)

# An example that the libraries of Standard Webhooks test themselves with.
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
ID = "msg_p5jXN8AQM9LWM0D4loKWxJek"
BODY = b'{"test": 2432232314}'
SIGNATURE = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


@pytest.mark.parametrize("secret", [SECRET, SECRET.removeprefix("whsec_")])
def test_it_is_signed_as_the_specification_s_libraries_check_it(secret):
    message = Message(id=ID, url="", secret=secret, body=BODY)
    headers = headers_of(message, "a", 1614265330.9)
    assert headers["Webhook-Id"] == ID
    assert headers["Webhook-Timestamp"] == "1614265330"
    assert headers["Webhook-Signature"] == SIGNATURE
    assert headers["Wsrunner-Attempt"] == "a"


def test_without_a_secret_there_is_no_signature():
    assert "Webhook-Signature" not in headers_of(Message(id=ID, url="", body=BODY), "a", 0)


@pytest.mark.parametrize(
    ("secret", "wrong"),
    [
        ("whsec_?", "base64"),
        ("plain words", "base64"),
        ("c2hvcnQ=", "5 bytes; it may be 24 to 64 bytes"),
        ("A" * 92, "69 bytes"),
        ("ä" * 32, "base64"),
    ],
)
def test_a_secret_that_is_none_is_told(secret, wrong):
    with pytest.raises(BadMessageError, match=wrong) as caught:
        key_of(secret)
    assert caught.value.path == "$.callback.secret"
    assert secret not in caught.value.message


def test_a_body_says_what_has_happened_and_when():
    told = json.loads(body_of("run.ended", 1767225600.25, {"run": "r"}))
    moment = "2026-01-01T00:00:00.250Z"
    assert told == {"type": "run.ended", "timestamp": moment, "data": {"run": "r"}}
    assert json.loads(lost_body("r", 0))["type"] == "run.lost"


def test_pauses_grow_and_a_receiver_may_ask_for_longer_ones_within_bounds():
    assert [pause_s(attempts) for attempts in range(1, 7)] == list(PAUSES_S)
    assert pause_s(100) == PAUSES_S[-1]
    assert pause_s(1, "60") == 60
    assert pause_s(1, "1") == PAUSES_S[0]
    assert pause_s(1, "9" * 400) == PAUSE_MAX_S
    assert pause_s(1, "Wed, 21 Oct 2026 07:28:00 GMT") == PAUSES_S[0]


def test_a_message_comes_back_as_it_was_kept():
    message = Message(id="r", url="u", secret="s", body=b"\xff", attempts=3, until=1.5)
    assert unpack(pack(message)) == message
