"""Every setting of the server, declared once: name, type, unit, default, range, help.

Owns `Settings`. The command line's options, the ``WSRUNNER_…`` variables, the keys of the TOML file
and ``docs/settings.md`` are all derived from it. Imports only `errors`.

Order of precedence: option, variable, file, default.
"""

from __future__ import annotations

import ipaddress
import os
import stat
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from wsrunner.errors import SetupError

PREFIX = "WSRUNNER_"
OTHER_VARIABLES = frozenset({"WSRUNNER_URL", "WSRUNNER_CONFIG"})
"""Variables with the prefix that are not settings of the server."""

CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else (os.cpu_count() or 1)

Port = Annotated[int, Meta(ge=0, le=65535)]
Seconds = Annotated[float, Meta(ge=0.1, le=86_400)]
Token = Annotated[str, Meta(pattern=r"^[A-Za-z0-9!#$%&'*+.^_`|~-]*\Z")]
"""What a WebSocket subprotocol can carry (RFC 7230 section 3.2.6): browsers send it in one."""
Origin = Annotated[str, Meta(pattern=r"^(null|[A-Za-z][A-Za-z0-9+.-]*://[^/*\s]+/?)\Z")]

WebhookHost = Annotated[
    str, Meta(pattern=r"^(\*|(\*\.)?[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(:[0-9]{1,5})?\Z")
]

UIDS = range(50_000, 54_096)
"""Users that runs have if nothing else was set; local images hold a name for each.

Below 65,536, the usual size of an engine's map (userns-remap), and out of the way of what else
gives out numbers: people and services of a host (from 1000 and from 60,000 up), subordinate users
(from 100,000), directories (from 200,000). To look one up among 4096 names takes 0.3 ms.
"""
UID_MAX = 2**31 - 1
"""The largest that an engine takes (Docker Engine API 1.41: POST /containers/create, User)."""
TOKENS = ("token", "operator_token")
"""Settings that may come from a file of their own, which the setting NAME_file names."""
TOKEN_FILE_MAX = 64 * 1024
"""Characters that are read of one: more than any token has."""

FILES_ROUNDING_KB = 1024
"""What a message's files may take on disk beyond their size: 64 files in blocks, and folders."""


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """All settings with their defaults; the `Meta.description` of each is its help."""

    host: Annotated[str, Meta(description="Address to listen on.")] = "127.0.0.1"
    port: Annotated[Port, Meta(description="Port to listen on; 0 lets the system choose.")] = 8001
    token: Annotated[
        Token,
        Meta(
            description="Access token that clients must send: letters, digits and "
            "!#$%&'*+-.^_`|~; none if empty. Options show in the list of processes."
        ),
    ] = ""
    token_file: Annotated[
        str, Meta(description="File whose only line is the access token, in place of the token.")
    ] = ""
    tls_cert: Annotated[
        str,
        Meta(
            description="File with the certificate, and those up to its issuer, in PEM; then the "
            "port speaks TLS (wss, https) alone. Read again when it changes, and on SIGHUP."
        ),
    ] = ""
    tls_key: Annotated[
        str, Meta(description="File with the certificate's key, where that has not got it.")
    ] = ""
    operator_token: Annotated[
        Token,
        Meta(
            description="Access token of operators, of the same characters: for the monitor, which "
            "shows others what is their own. Options show in the list of processes."
        ),
    ] = ""
    operator_token_file: Annotated[
        str,
        Meta(description="File whose only line is the monitor's token, in place of that token."),
    ] = ""
    origin: Annotated[
        tuple[Origin, ...],
        Meta(description="Further web origins that may connect, such as https://ide.example."),
    ] = ()
    tenants: Annotated[
        str,
        Meta(
            description="TOML file of tenants: who may use the server, and how much of it. It is "
            "read again when it changes, and on SIGHUP."
        ),
    ] = ""
    proxies: Annotated[
        tuple[str, ...],
        Meta(
            description="Addresses or networks of proxies that are believed what X-Forwarded-For "
            "says of their clients, such as 10.0.0.0/8."
        ),
    ] = ()
    adapters: Annotated[
        bool,
        Meta(description="Take clients of docker-run, Piston and the REST service, too."),
    ] = True
    open: Annotated[
        bool, Meta(description="Listen on an address other than loopback without a token.")
    ] = False
    slots: Annotated[
        Annotated[int, Meta(ge=1, le=100_000)],
        Meta(description="Runs at once, across all replicas that share a gate."),
    ] = 2 * CORES
    engine_slots: Annotated[
        Annotated[int, Meta(ge=0, le=100_000)],
        Meta(description="Runs at once on this server's engine; 0 for as many as there are slots."),
    ] = 0
    queue_max: Annotated[
        Annotated[int, Meta(ge=0, le=1_000_000)],
        Meta(description="Runs that may wait; a further one is refused with queue_full."),
    ] = 1000
    redis_url: Annotated[
        str,
        Meta(description="Redis that replicas share slots and queue through; in memory if empty."),
    ] = ""
    runtime: Annotated[
        str,
        Meta(description="The container runtime the engine uses: runc, crun, or runsc for gVisor."),
    ] = "runc"
    seccomp: Annotated[
        str,
        Meta(
            description="System calls that programs may make: wsrunner for its own list, default "
            "for the engine's, unconfined for all, or a file with a profile in Docker's format."
        ),
    ] = "wsrunner"
    uids: Annotated[
        Annotated[str, Meta(pattern=r"^[0-9]{1,10}(-[0-9]{1,10})?\Z")],
        Meta(
            description="Numbers of the users that runs have, first-last: each container gets one "
            "that no other on its engine has. A single number is every container's."
        ),
    ] = f"{UIDS[0]}-{UIDS[-1]}"
    warm: Annotated[
        str,
        Meta(
            description="Started containers to keep ready, such as python=2,c=1; a plain number "
            "applies to every language whose image is present. Languages in demand get more."
        ),
    ] = "python=1,javascript=1,c=1,bash=1"
    warm_terminals: Annotated[
        Annotated[int, Meta(ge=0, le=10_000)],
        Meta(
            description="How many containers with a terminal to keep ready beside those of each "
            "language, at most as many as of these; 0 for none until they are asked for."
        ),
    ] = 1
    warm_max: Annotated[
        Annotated[int, Meta(ge=0, le=10_000)],
        Meta(
            description="Most started containers to keep ready, over all languages; 0 keeps none."
        ),
    ] = 16
    warm_memory_mb: Annotated[
        Annotated[int, Meta(ge=0, le=1_048_576)],
        Meta(
            description="Memory that containers kept ready may take, in MiB: 8 each, and what the "
            "program takes that one has started ahead."
        ),
    ] = 512
    ahead: Annotated[
        Annotated[str, Meta(pattern=r"^(local|all|none)\Z")],
        Meta(
            description="In which images a container kept ready starts its language's interpreter "
            "or compiler ahead of its run: local (those that wsrunner builds), all, or none; with "
            "runc and crun only."
        ),
    ] = "local"
    preload: Annotated[
        tuple[Annotated[str, Meta(pattern=r"^python=[A-Za-z_][A-Za-z0-9_.]*\Z")], ...],
        Meta(
            description="Modules that a Python which is started ahead has imported already, such "
            "as python=numpy: programs then find them in sys.modules."
        ),
    ] = ()
    languages: Annotated[str, Meta(description="TOML file that adds or overrides languages.")] = ""
    workspaces: Annotated[
        Annotated[int, Meta(ge=0, le=100_000)],
        Meta(
            description="Workspaces of this server at once, idle ones included; a further one is "
            "refused with workspaces_full. 0 for none."
        ),
    ] = 16
    workspaces_each: Annotated[
        Annotated[int, Meta(ge=0, le=100_000)],
        Meta(description="Workspaces that one tenant may have at once; clients without one share."),
    ] = 16
    workspace_s: Annotated[
        Seconds, Meta(description="Seconds after its last run at which a workspace ends.")
    ] = 300.0
    wall_s: Annotated[
        Seconds, Meta(description="Longest time a run may take, builds included, in seconds.")
    ] = 60.0
    cpu_s: Annotated[
        Annotated[int, Meta(ge=1, le=86_400)],
        Meta(
            description="CPU time that a run may use, over all its processes and builds included, "
            "in seconds."
        ),
    ] = 30
    memory_mb: Annotated[
        Annotated[int, Meta(ge=16, le=1_048_576)],
        Meta(description="Memory of a run, its files included, in MiB."),
    ] = 512
    output_kb: Annotated[
        Annotated[int, Meta(ge=1, le=1_073_741_824)],
        Meta(description="Output a run may print before it is ended, in KiB."),
    ] = 32 * 1024
    pids: Annotated[
        Annotated[int, Meta(ge=8, le=100_000)],
        Meta(description="Processes and threads of a run."),
    ] = 128
    cpus: Annotated[
        Annotated[float, Meta(ge=0.01, le=1024)],
        Meta(description="CPU cores one run may use at once."),
    ] = 1.0
    disk_mb: Annotated[
        Annotated[int, Meta(ge=1, le=1_048_576)],
        Meta(description="Size of a run's work directory (a tmpfs, part of its memory), in MiB."),
    ] = 128
    files_mb: Annotated[
        Annotated[int, Meta(ge=0, le=1024)],
        Meta(
            description="Files of a run that may come back (outputs), all together, in MiB; "
            "0 for none."
        ),
    ] = 16
    message_kb: Annotated[
        Annotated[int, Meta(ge=1, le=65_536)],
        Meta(description="Largest message a client may send, in KiB."),
    ] = 1024
    messages_per_s: Annotated[
        Annotated[int, Meta(ge=0, le=1_000_000)],
        Meta(
            description="Messages a client may send on one socket a second, over time; what comes "
            "faster is read later. 0 for no limit."
        ),
    ] = 2000
    receive_kb_per_s: Annotated[
        Annotated[int, Meta(ge=0, le=16_777_216)],
        Meta(
            description="KiB a client may send on one socket a second, over time, five seconds' "
            "at once; what comes faster is read later. 0 for no limit."
        ),
    ] = 0
    inbox_mb: Annotated[
        Annotated[int, Meta(ge=1, le=1_048_576)],
        Meta(
            description="Memory that messages and HTTP bodies on their way in may take over all "
            "clients, in MiB; beyond, the one that holds most is closed (1013), or refused (503)."
        ),
    ] = 64
    sockets_per_address: Annotated[
        Annotated[int, Meta(ge=0, le=1_000_000)],
        Meta(
            description="WebSockets and HTTP runs one client address may have open, loopback "
            "aside; a further one is refused (429). 0 for no limit, as behind a balancer, whose "
            "address all have."
        ),
    ] = 1000
    connections_per_s: Annotated[
        Annotated[int, Meta(ge=0, le=1_000_000)],
        Meta(
            description="Connections one client address may open a second over time, loopback "
            "aside; a further one is refused (429, rate_limited). Those through one of --proxies "
            "count as their client's. 0 for no limit, as behind a balancer that is not among them."
        ),
    ] = 100
    runs_per_minute: Annotated[
        Annotated[int, Meta(ge=0, le=1_000_000)],
        Meta(description="Runs one client address may start a minute; 0 for no limit."),
    ] = 0
    slow_client_s: Annotated[
        Seconds,
        Meta(description="Seconds a client may take no output before it is dropped (4408)."),
    ] = 30.0
    keep_s: Annotated[
        Annotated[float, Meta(ge=0, le=86_400)],
        Meta(
            description="Longest time that a run may ask to be kept (keep_s) while nobody drives "
            "it, in seconds."
        ),
    ] = 300.0
    journal_kb: Annotated[
        Annotated[int, Meta(ge=1, le=1_048_576)],
        Meta(description="Last output of a kept run that can be read again, in KiB."),
    ] = 1024
    journal_s: Annotated[
        Annotated[float, Meta(ge=0.1, le=86_400)],
        Meta(description="Seconds for which a kept run can be read again after its exit."),
    ] = 600.0
    kept_max: Annotated[
        Annotated[int, Meta(ge=0, le=1_000_000)],
        Meta(
            description="Kept runs of this server at once, ended ones included until journal_s is "
            "over; a further one is refused with kept_full."
        ),
    ] = 1000
    kept_mb: Annotated[
        Annotated[int, Meta(ge=0, le=1_048_576)],
        Meta(
            description="Memory that the journals of kept runs may take together, in MiB; one that "
            "goes on counts in full."
        ),
    ] = 256
    viewers_max: Annotated[
        Annotated[int, Meta(ge=1, le=1_000_000)],
        Meta(description="Clients that may be attached to one run on this server."),
    ] = 1000
    webhook_hosts: Annotated[
        tuple[WebhookHost, ...],
        Meta(
            description="Hosts that a run's callback may go to, such as ci.example, "
            "*.ci.example:8443, or * for all; without a port the scheme's own. None if empty."
        ),
    ] = ()
    webhook_private: Annotated[
        bool,
        Meta(
            description="Let callbacks go to addresses that not everybody can reach: private ones, "
            "loopback, link-local."
        ),
    ] = False
    webhook_pending: Annotated[
        Annotated[int, Meta(ge=1, le=100_000)],
        Meta(
            description="Callbacks that may wait for their run or their receiver, over all "
            "replicas, of one tenant half of them; a run with a further one is refused with "
            "kept_full."
        ),
    ] = 256
    rooms: Annotated[
        Annotated[int, Meta(ge=0, le=1_000_000)],
        Meta(description="Rooms of this server at once; a further one is refused (rooms_full)."),
    ] = 200
    rooms_per_client: Annotated[
        Annotated[int, Meta(ge=0, le=1_000_000)],
        Meta(
            description="Rooms that one client address may have open, loopback aside; 0 for no "
            "limit."
        ),
    ] = 20
    room_people: Annotated[
        Annotated[int, Meta(ge=1, le=100_000)],
        Meta(description="People that may be in one room."),
    ] = 100
    room_kb: Annotated[
        Annotated[int, Meta(ge=1, le=65_536)],
        Meta(description="What the document of a room may take, all its changes together, in KiB."),
    ] = 1024
    room_messages_per_s: Annotated[
        Annotated[int, Meta(ge=1, le=100_000)],
        Meta(
            description="Messages that one person may send to a room a second, over time; five "
            "times as many may come at once, more are refused."
        ),
    ] = 100
    room_s: Annotated[
        Seconds, Meta(description="Seconds for which a room stays after the last one has left it.")
    ] = 3600.0
    drain_s: Annotated[
        Annotated[float, Meta(ge=0, le=86_400)],
        Meta(description="Seconds that live runs get to end after SIGTERM."),
    ] = 10.0
    lease_s: Annotated[
        Annotated[float, Meta(ge=1, le=3600)],
        Meta(description="Seconds after which a dead replica's slots come back (Redis only)."),
    ] = 15.0
    instance: Annotated[
        str,
        Meta(
            description="Name of this server on its engine: at its start, containers left by an "
            "earlier server of that name are removed. Host name and port if empty."
        ),
    ] = ""
    log_level: Annotated[
        Annotated[str, Meta(pattern="^(debug|info|warning|error)$")],
        Meta(description="Lowest level that is logged: debug, info, warning or error."),
    ] = "info"


class Setting(msgspec.Struct, frozen=True):
    """One declared setting, as the command line and the docs need it.

    Attributes:
        name: The key in TOML and the attribute of `Settings`.
        type: The plain Python type: str, int, float, bool, or tuple for a list of strings.
        default: The default value.
        help: One sentence with the unit.
    """

    name: str
    type: type
    default: Any
    help: str

    @property
    def option(self) -> str:
        """The command line's spelling, ``--queue-max``."""
        return "--" + self.name.replace("_", "-")

    @property
    def variable(self) -> str:
        """The environment's spelling, ``WSRUNNER_QUEUE_MAX``."""
        return PREFIX + self.name.upper()


def declared() -> Iterator[Setting]:
    """Yield every setting in the order of declaration."""
    info = msgspec.inspect.type_info(Settings)
    assert isinstance(info, msgspec.inspect.StructType)
    kinds: dict[type, type] = {
        msgspec.inspect.StrType: str,
        msgspec.inspect.IntType: int,
        msgspec.inspect.FloatType: float,
        msgspec.inspect.BoolType: bool,
        msgspec.inspect.VarTupleType: tuple,
    }
    for field in info.fields:
        node = field.type
        text = ""
        while isinstance(node, msgspec.inspect.Metadata):
            text = (node.extra_json_schema or {}).get("description", text)
            node = node.type
        yield Setting(field.name, kinds[type(node)], field.default, text)


def load(
    options: Mapping[str, Any] | None = None,
    environ: Mapping[str, str] | None = None,
    config: Path | None = None,
) -> Settings:
    """Merge options over variables over the file over the defaults, and check every value.

    Args:
        options: Values given on the command line, by setting name; None values count as not given.
        environ: The environment; only names that begin with ``WSRUNNER_`` are looked at.
        config: A TOML file of settings at its top level; ``WSRUNNER_CONFIG`` if None.

    Raises:
        SetupError: An unknown key or variable, or a value of the wrong type or out of range; the
            message names where it was set, the value, and what is allowed. Or a file of a token
            that can't be read as one.
    """
    environ = {} if environ is None else environ
    known = {setting.name: setting for setting in declared()}
    merged: dict[str, Any] = {}
    config = config or (
        Path(environ[PREFIX + "CONFIG"]) if environ.get(PREFIX + "CONFIG") else None
    )
    if config is not None:
        for name, value in _read_toml(config).items():
            if name not in known:
                raise SetupError(f"{config}: unknown setting {name!r}{_closest(name, known)}")
            merged[name] = _convert(known[name], value, f"{config}: {name}")
    variables = {setting.variable: setting for setting in known.values()}
    for variable, value in environ.items():
        if not variable.startswith(PREFIX) or variable in OTHER_VARIABLES:
            continue
        if variable not in variables:
            raise SetupError(f"unknown variable {variable}{_closest(variable, variables)}")
        setting = variables[variable]
        merged[setting.name] = _convert(setting, value, variable)
    for name, value in (options or {}).items():
        if value is not None:
            merged[name] = _convert(known[name], value, known[name].option)
    merged |= _tokens_of_files(merged, known)
    return _consistent(Settings(**merged))


def _tokens_of_files(merged: Mapping[str, Any], known: Mapping[str, Setting]) -> dict[str, str]:
    """Return the tokens that files are given for, by setting name.

    Raises:
        SetupError: See `read_token`; or the token itself is given, too.
    """
    tokens = {}
    for name in TOKENS:
        file = merged.get(f"{name}_file")
        if file and merged.get(name):
            option = known[name].option
            raise SetupError(
                f"{option} and {option}-file are both given, by option, variable or file; give one"
            )
        if file:
            tokens[name] = _convert(known[name], read_token(Path(file)), file)
    return tokens


def read_token(file: Path) -> str:
    """Return the token that is the only line of a file.

    Raises:
        SetupError: The file can't be read, is empty or has several lines.
    """
    try:
        # Far more than a token has, and not all of /dev/zero.
        with file.open(encoding="utf-8") as opened:
            text = opened.read(TOKEN_FILE_MAX)
    except OSError as exc:
        raise SetupError(f"can't read the token file {file}: {exc.strerror}") from exc
    except UnicodeDecodeError as exc:
        raise SetupError(f"the token file {file} is no text") from exc
    token = text.removesuffix("\n")
    if not token:
        raise SetupError(f"the token file {file} is empty; it should have the token as its line")
    if "\n" in token:
        lines = len(token.split("\n"))
        raise SetupError(f"the token file {file} has {lines} lines; it should have the token alone")
    return token


def exposed(file: Path) -> bool:
    """Whether others than a file's owner and group may read it; False if it is not there."""
    try:
        return bool(file.stat().st_mode & stat.S_IROTH)
    except OSError:
        return False


def _consistent(settings: Settings) -> Settings:
    """Check what one value says about another.

    Raises:
        SetupError: They can't both hold.
    """
    needed_kb = settings.message_kb + FILES_ROUNDING_KB
    if needed_kb > settings.disk_mb * 1024:
        raise SetupError(
            f"--disk-mb: {settings.disk_mb} MiB do not hold the files of a message of "
            f"{settings.message_kb} KiB (--message-kb); it takes {-(-needed_kb // 1024)} MiB"
        )
    needed_mb = -(-settings.message_kb // 1024) + 4
    if needed_mb > settings.inbox_mb:
        raise SetupError(
            f"--inbox-mb: {settings.inbox_mb} MiB do not hold one message of {settings.message_kb} "
            f"KiB (--message-kb) and what it may exceed that by; it takes {needed_mb} MiB"
        )
    for proxy in settings.proxies:
        try:
            ipaddress.ip_network(proxy)
        except ValueError as exc:
            raise SetupError(f"--proxies: {exc}") from exc
    users = len(uid_range(settings.uids))
    runs = settings.engine_slots or settings.slots
    if 1 < users < runs + settings.warm_max:
        which = "--engine-slots" if settings.engine_slots else "--slots"
        raise SetupError(
            f"--uids: {settings.uids} are {users} users, too few for {runs} runs at once ({which}) "
            f"and {settings.warm_max} containers kept ready (--warm-max)"
        )
    return settings


def uid_range(uids: str) -> range:
    """Return the user numbers that the setting `uids` names.

    Raises:
        SetupError: The first is above the last, is root's, or the last is larger than can be.
    """
    first, _, last = uids.partition("-")
    numbers = range(int(first), int(last or first) + 1)
    if not numbers:
        raise SetupError(f"--uids: {uids}: the first number is larger than the last")
    if numbers[0] == 0:
        raise SetupError(f"--uids: {uids}: user 0 is root; the smallest number is 1")
    if numbers[-1] > UID_MAX:
        raise SetupError(f"--uids: {uids}: the largest number is {UID_MAX}")
    return numbers


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as exc:
        raise SetupError(f"can't read {path}: {exc.strerror}") from exc
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as exc:
        raise SetupError(f"{path} is not valid TOML: {exc}") from exc


def _convert(setting: Setting, value: Any, where: str) -> Any:
    """Check one value against its declaration; `where` names its origin in the error."""
    if setting.type is tuple and isinstance(value, str):
        value = [part.strip() for part in value.split(",") if part.strip()]
    try:
        checked = msgspec.convert({setting.name: value}, Settings, strict=False)
    except msgspec.ValidationError as exc:
        reason = str(exc).partition(" - at ")[0]
        shown = "" if setting.name.endswith("token") else f" {value!r}:"
        raise SetupError(
            f"{where}:{shown} {reason[0].lower()}{reason[1:]}. {setting.help}"
        ) from exc
    return getattr(checked, setting.name)


def _closest(name: str, names: Mapping[str, Any]) -> str:
    from difflib import get_close_matches

    close = get_close_matches(name, names, n=1)
    return f"; did you mean {close[0]}?" if close else ""


def markdown() -> str:
    """Return ``docs/settings.md``: every setting as a row of a table."""
    lines = [
        "# Settings",
        "",
        "<!-- made by `python -m wsrunner.settings`; a test holds it to the code -->",
        "",
        "Each is an option of `wsrunner serve`, a variable, and a key of the TOML file given by",
        "`--config` (or `WSRUNNER_CONFIG`). Options win over variables, variables over the file.",
        "Lists are given as repeated options, or with commas in variables. An unknown variable",
        "that begins with `WSRUNNER_`, or an unknown key, stops the start.",
        "",
        "| option | variable | key | default | |",
        "|---|---|---|---|---|",
    ]
    for setting in declared():
        default = "" if setting.default in ("", ()) else f"`{setting.default}`".lower()
        if setting.name == "slots":
            default = "twice the cores"
        lines.append(
            f"| `{setting.option}` | `{setting.variable}` | `{setting.name}` | {default} "
            f"| {setting.help} |"
        )
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    print(markdown(), end="")  # noqa: T201 - its purpose
