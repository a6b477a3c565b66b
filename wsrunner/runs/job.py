"""What somebody asks to be run, in plain values: the same from a socket, a file or a test.

Owns `Job` and who it is for. Pure. Whether it can be run is `order`'s to say.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits of one job; None for the server's own, which they may only lower."""

    wall_s: float | None = None
    cpu_s: float | None = None
    memory_mb: int | None = None
    output_kb: int | None = None
    pids: int | None = None


@dataclass(frozen=True, slots=True)
class Job:
    """One program to run.

    Attributes:
        language: Id or alias.
        code: Content of the language's main file; None if there are `files`.
        files: Relative name → content, the main file first; None if there is `code`.
        stdin: All of stdin; None if it stays open.
        args: Appended to the run command, each one argument.
        env: Variables for build and run.
        command: Shell line in place of the language's run command, or None.
        limits: Its own limits.
        window: (columns, rows) of a terminal, or None for pipes.
        merge: Whether stderr comes as stdout, in the order in which both were written.
        outputs: Patterns of the files to bring back, see `names.Patterns`.
        workspace: Name of the workspace to run it in, or None for a container of its own.
        waiting: Whether to tell when the program wants input.
    """

    language: str
    code: bytes | None = None
    files: Mapping[str, bytes] | None = None
    stdin: bytes | None = None
    args: Sequence[str] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    command: str | None = None
    limits: Limits = Limits()
    window: tuple[int, int] | None = None
    merge: bool = False
    outputs: Sequence[str] = ()
    workspace: str | None = None
    waiting: bool = False


@dataclass(frozen=True, slots=True)
class Allowance:
    """What a tenant, or one of its users, may have; 0 sets no limit.

    Attributes:
        languages: Ids of the languages that may be run; None for all.
        limits: The most that a run may ask for, below the server's own; None for those.
        origins: Of the tenant's own pages, besides the server's.
        runs_per_minute: Runs the tenant may start a minute, on this server.
        sockets: WebSockets and HTTP runs the tenant may have open on this server.
        user_runs_per_minute: Runs each of the tenant's users may start a minute, on this server.
        user_sockets: WebSockets and HTTP runs each of them may have open on this server.
        kept_runs: Kept runs the tenant may have on this server.
        workspaces: Workspaces the tenant may have.
        rooms: Rooms the tenant may have.
    """

    languages: frozenset[str] | None = None
    limits: Limits = Limits()
    origins: frozenset[str] = frozenset()
    runs_per_minute: int = 0
    sockets: int = 0
    user_runs_per_minute: int = 0
    user_sockets: int = 0
    kept_runs: int = 0
    workspaces: int = 0
    rooms: int = 0


@dataclass(frozen=True, slots=True)
class Principal:
    """Who asks: made from a request by `serving.access`, carried to ticket, rate and log.

    Attributes:
        client: What tells one client from another, for rates: an address. Never logged.
        tenant: Whose share of slots and queue its runs use; empty for nobody's.
        user: Whom the gate takes for one client: they take turns. An address, or a socket's number
            where an address says nothing; empty for nobody. Never logged.
        operator: Whether it may watch and command the server.
        subject: Which of the tenant's users it is, as the tenant says; empty for the tenant itself,
            or where there are no tenants. Never logged.
        may: What it may have.
        room: The only room that it may enter; empty for any.
        drives: Whether it may start and drive runs; else it may only watch.
        guest: Whether it came by a room's link alone: it may do nothing but what the room lets it.
    """

    client: str
    tenant: str = ""
    user: str = ""
    operator: bool = False
    subject: str = ""
    may: Allowance = Allowance()
    room: str = ""
    drives: bool = True
    guest: bool = False

    def owns(self, other: Principal) -> bool:
        """Whether what is another's is this one's, too: to see it, and to end it.

        A tenant's own token owns all that its users have; a user owns what has the same name. Where
        there are no tenants, a client owns what comes from its address, or its socket.
        """
        if self.operator:
            return True
        if self.tenant != other.tenant:
            return False
        if self.tenant:
            return self.subject in {"", other.subject}
        return self.user == other.user != ""
