"""A share of `python -m bench fuzz`, and whether it would notice."""

import random

import pytest

from bench import attempts, fuzz

SEED = "suite"
COUNT = 20_000
REQUESTS = 300


def failures_of(targets):
    failures = []
    for _ in fuzz.try_all(targets, SEED, failures):
        pass
    return failures


@pytest.mark.parametrize("name", attempts.ATTEMPTS)
def test_nothing_that_is_wrong_does_harm(name):
    share, attempt = attempts.ATTEMPTS[name]
    assert failures_of({name: (int(share * COUNT), attempt)}) == []


def test_no_request_keeps_a_server_from_the_next(server):
    port = int(server.address.rpartition(":")[2])
    assert failures_of({"requests": (REQUESTS, attempts.request(port))}) == []
    assert server.status("/healthz") == 200
    assert "Traceback" not in server.log.read_text()


def test_what_goes_wrong_is_told_with_what_makes_it_again():
    def attempt(chance):
        if chance.random() < 0.01:
            raise ValueError("found")

    failures = failures_of({"planted": (1000, attempt)})
    assert failures
    with pytest.raises(ValueError, match="found"):
        attempt(random.Random(failures[0].seed))


@pytest.mark.parametrize(
    ("name", "place", "planted"),
    [
        ("messages", "bench.attempts.protocol.decode", lambda data, max_bytes: data.decode()),
        ("attach frames", "bench.attempts.FrameReader._append", lambda *_: None),
        ("bootstrap reports", "bench.attempts.Reports.feed", lambda *_: []),
        ("journal reads", "bench.attempts.Cursor.take", lambda cursor, most: cursor.skip(most)),
    ],
)
def test_a_planted_fault_is_noticed(name, place, planted, monkeypatch):
    monkeypatch.setattr(place, planted)
    assert failures_of({name: (200, attempts.ATTEMPTS[name][1])})
