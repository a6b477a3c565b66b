"""All messages of one server: waits for runs to end, makes attempts, and keeps a log of them.

Owns the tasks. What is kept is the `backlog`'s, so that another replica can go on with it.

::

    Dispatch
    ├── _work       takes what is due and starts attempts
    ├── _attempt    one for each that is being made
    └── _follow     one for each run that has a callback and goes on here
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
import time
from collections import Counter, deque
from collections.abc import Callable, Coroutine, Sequence
from typing import TYPE_CHECKING, Any, Literal, Self

import msgspec

from wsrunner.errors import GateUnavailableError, KeptFullError, WsrunnerError
from wsrunner.live.journal import Entry
from wsrunner.live.show import Item, Seat, Show
from wsrunner.runs.events import Refused
from wsrunner.webhooks.backlog import Backlog
from wsrunner.webhooks.message import GIVEN_UP_S, Message, key_of, lost_body, pause_s
from wsrunner.webhooks.targets import Targets, host_of

if TYPE_CHECKING:
    from wsrunner.webhooks.sender import Outcome, Sender

log = logging.getLogger(__name__)

AT_ONCE = 32
"""Attempts that are made at the same time."""
OWNER_SHARE = 2
"""One tenant may have this part of the callbacks that may wait."""
LEASE_S = 60.0
"""After which another replica takes a message: longer than any attempt."""
RENEW_S = 20.0
"""How often a message is put off whose run goes on; one that is due without a body has lost it."""
LOOK_S = 1.0
"""How often the backlog is asked for what others have left there, or what is due again."""
CLOSE_S = 3.0
"""How long the end of a server waits for its last attempts."""
LOG_KEPT = 200


AttemptOutcome = Literal["delivered", "failed", "given_up"]


class Attempt(msgspec.Struct, kw_only=True, frozen=True):
    """One line of the log; `at` is Unix time, `next_s` null where there is no further attempt."""

    at: float
    run: str
    host: str
    attempt: str
    number: int
    outcome: AttemptOutcome
    status: int | None
    error: str
    took_ms: float
    next_s: float | None


class Dispatch:
    """Sends messages; ``async with`` begins and ends that.

    Args:
        backlog: Keeps them.
        hosts: Where they may go; see `Targets`.
        private: Likewise.
        pending_max: How many may wait.

    Attributes:
        attempts: The last ones.
        outcomes: How many attempts have gone how.
        pending: How many messages waited when the backlog was last asked.
    """

    def __init__(
        self, backlog: Backlog, hosts: Sequence[str], *, private: bool, pending_max: int
    ) -> None:
        self._backlog = backlog
        self._targets = Targets(hosts, private=private)
        self._pending_max = pending_max
        self._sender: Sender | None = None
        self._woken = asyncio.Event()
        self._work_task: asyncio.Task[None] | None = None
        self._sending: dict[asyncio.Task[None], Message] = {}
        self._following: set[asyncio.Task[None]] = set()
        self._reachable = True
        self.attempts: deque[Attempt] = deque(maxlen=LOG_KEPT)
        self.outcomes: Counter[str] = Counter()
        self.pending = 0

    async def __aenter__(self) -> Self:
        if self._targets:
            self._work_task = asyncio.create_task(self._work(), name="webhooks")
        return self

    async def __aexit__(self, *exc: object) -> None:
        """Make the attempts that are due, for a moment; what is left waits in the backlog."""
        if self._work_task is None:
            return
        with contextlib.suppress(TimeoutError, GateUnavailableError):
            async with asyncio.timeout(CLOSE_S):
                await self._quiet()
        interrupted = list(self._sending.values())
        tasks = [self._work_task, *self._following, *self._sending]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        with contextlib.suppress(GateUnavailableError):
            for message in interrupted:
                await self._backlog.put(message, 0)
        if self._sender is not None:
            await self._sender.__aexit__(*exc)
        await self._backlog.close()

    async def _quiet(self) -> None:
        """Wait until nothing is being made, and nothing is due."""
        while self._following:
            await asyncio.wait(self._following)
        while True:
            if self._sending:
                await asyncio.wait(self._sending)
            elif not await self._take():
                return

    # What the doors ask.

    def check(self, url: str, secret: str) -> None:
        """Let a callback pass that can be sent.

        Raises:
            BadMessageError, NotAllowedError: It can't; see `Targets.check` and `key_of`.
        """
        self._targets.check(url)
        if secret:
            key_of(secret)

    async def check_room(self, owner: str) -> None:
        """Let one more pass, of this tenant; '' for nobody's.

        Raises:
            KeptFullError: As many wait as may, of all or of one tenant.
            GateUnavailableError: The backlog can't be reached.
        """
        count = await self._backlog.count()
        if count >= self._pending_max:
            raise KeptFullError(
                f"{count} callbacks wait to be sent; the limit is {self._pending_max} callbacks",
                path="$.callback",
                retry_after_s=LEASE_S,
            )
        most = max(1, self._pending_max // OWNER_SHARE)
        if owner and (count := await self._backlog.count(owner)) >= most:
            raise KeptFullError(
                f"{count} callbacks of tenant {owner} wait to be sent; the limit is {most} "
                "callbacks of one tenant",
                path="$.callback",
                retry_after_s=LEASE_S,
            )

    def follow(
        self, show: Show, url: str, secret: str, word: Callable[[Show], bytes], owner: str = ""
    ) -> None:
        """Send a message when a run has ended, unless it is refused before anything else.

        Args:
            show: The run.
            url: Where the message goes; must have passed `check`.
            secret: What it is signed with, if it is.
            word: Returns its body, once the run has ended.
            owner: The tenant that it counts for.
        """
        message = Message(id=show.record.run_id, url=url, secret=secret, owner=owner)
        # Taken here: whatever happens to the run from now on is heard.
        # It is none of the clients that are counted.
        seat = Seat(show, "view", 0, "")
        task = asyncio.create_task(self._follow(seat, message, word), name="webhook of a run")
        self._following.add(task)
        task.add_done_callback(self._following.discard)

    # Runs that go on.

    async def _follow(self, seat: Seat, message: Message, word: Callable[[Show], bytes]) -> None:
        try:
            if any(map(_is_refusal, await seat.next())):
                # Its client has been told so in place of 202.
                return
            await self._keep(message, LEASE_S)
            while await self._heard(seat):
                await self._keep(message, LEASE_S)
            message.body = word(seat.show)
        finally:
            seat.leave()
        message.until = time.time() + GIVEN_UP_S
        while not await self._keep(message, 0):
            await asyncio.sleep(LOOK_S)
        self._woken.set()

    @staticmethod
    async def _heard(seat: Seat) -> bool:
        """Hear a run to its end; return whether it still goes on after a while."""
        try:
            async with asyncio.timeout(RENEW_S):
                while await seat.next():
                    pass
        except TimeoutError:
            return True
        return False

    async def _keep(self, message: Message, due_s: float) -> bool:
        """Put a message into the backlog; return whether it is there."""
        try:
            await self._backlog.put(message, due_s)
        except GateUnavailableError as exc:
            self._tell_unreachable(exc)
            return False
        return True

    # Attempts.

    async def _work(self) -> None:
        while True:
            self._woken.clear()
            try:
                taken = await self._take()
                self.pending = await self._backlog.count()
                self._reachable = True
            except GateUnavailableError as exc:
                self._tell_unreachable(exc)
                taken = 0
            except Exception:
                log.exception("sending webhooks failed")
                taken = 0
            if not taken:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(LOOK_S):
                        await self._woken.wait()

    async def _take(self) -> int:
        """Start attempts for what is due; return for how many."""
        room = AT_ONCE - len(self._sending)
        due = await self._backlog.take(room, LEASE_S) if room > 0 else []
        for message in due:
            self._start(self._attempt(message), message)
        return len(due)

    def _start(self, attempt: Coroutine[Any, Any, None], message: Message) -> None:
        task = asyncio.create_task(attempt, name="webhook attempt")
        self._sending[task] = message
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._sending.pop(task, None)
        self._woken.set()
        if not task.cancelled() and (exc := task.exception()) is not None:
            log.error("an attempt to send a webhook failed", exc_info=exc)

    async def _attempt(self, message: Message) -> None:
        """Make one attempt, and say in the backlog what has come of it."""
        now = time.time()
        if not message.body:
            # Whoever carried its run out has not put it off: that one is gone.
            message.body, message.until = lost_body(message.id, now), now + GIVEN_UP_S
        attempt = secrets.token_hex(8)
        began_s = time.monotonic()
        outcome = await self._send(message, attempt)
        took_s = time.monotonic() - began_s
        message.attempts += 1
        wait_s: float | None = None
        if not outcome.delivered and not outcome.final:
            wait_s = pause_s(message.attempts, outcome.retry_after)
            if now + wait_s > message.until:
                wait_s = None
        self._note(message, attempt, outcome, took_s, wait_s)
        try:
            if wait_s is None:
                await self._backlog.drop(message.id)
            else:
                await self._backlog.put(message, wait_s)
        except GateUnavailableError as exc:
            # It is due again when its lease is over.
            self._tell_unreachable(exc)

    async def _send(self, message: Message, attempt: str) -> Outcome:
        from wsrunner.webhooks.sender import Outcome, Sender

        try:
            # Its host may have been allowed by an earlier server.
            self._targets.check(message.url)
        except WsrunnerError as exc:
            return Outcome(error=exc.message, final=True)
        if self._sender is None:
            sender = Sender(self._targets, AT_ONCE)
            # Opening it does not wait for anything.
            self._sender = await sender.__aenter__()
        return await self._sender.send(message, attempt)

    def _note(
        self, message: Message, attempt: str, outcome: Outcome, took_s: float, wait_s: float | None
    ) -> None:
        word: AttemptOutcome = "failed"
        if wait_s is None:
            word = "delivered" if outcome.delivered else "given_up"
        self.outcomes[word] += 1
        line = Attempt(
            at=time.time(),
            run=message.id,
            host=host_of(message.url),
            attempt=attempt,
            number=message.attempts,
            outcome=word,
            status=outcome.status,
            error=outcome.error,
            took_ms=round(took_s * 1000, 1),
            next_s=wait_s,
        )
        self.attempts.append(line)
        level = logging.DEBUG if outcome.delivered else logging.WARNING
        why = outcome.error or f"status {outcome.status}"
        log.log(level, "webhook of run %s to %s: %s, %s", line.run, line.host, word, why)

    def _tell_unreachable(self, exc: GateUnavailableError) -> None:
        if self._reachable:
            self._reachable = False
            log.warning("webhooks can't be kept: %s", exc.message)


def _is_refusal(item: Item) -> bool:
    return isinstance(item, Entry) and isinstance(item.event, Refused)
