"""``wsrunner monitor`` and ``slots``: for who operates servers that run."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from wsrunner.commands import options
from wsrunner.errors import SetupError

if TYPE_CHECKING:
    from wsrunner.gates.operator import Operator


@click.command("monitor")
@options.url
@click.option(
    "--token",
    help="The server's operator token, or its access token if it has no operator token; options "
    "show in the list of processes.  [WSRUNNER_OPERATOR_TOKEN, WSRUNNER_TOKEN]",
)
@options.token_file
@click.option("--json", "as_json", is_flag=True, help="Print the feed's messages as they come.")
def monitor_command(*, url: str, token: str | None, token_file: Path | None, as_json: bool) -> None:
    """Show live what a server does: slots, queue, warm containers, the last runs.

    Ends with Ctrl-C.
    """
    from wsrunner.commands import dashboard

    token = options.choose_token(token, token_file, "WSRUNNER_OPERATOR_TOKEN", "WSRUNNER_TOKEN")
    try:
        dashboard.show(url, token, as_json=as_json)
    except ValueError as exc:
        raise click.UsageError(str(exc)) from exc


@click.group("slots", invoke_without_command=True)
@click.option(
    "--redis-url",
    envvar="WSRUNNER_REDIS_URL",
    help="Redis that the replicas share.  [WSRUNNER_REDIS_URL]",
)
@click.pass_context
def slots_group(ctx: click.Context, redis_url: str | None) -> None:
    """Show how many slots are held and how many runs wait, across all replicas."""
    ctx.obj = redis_url
    if ctx.invoked_subcommand is None:
        state = _operate(redis_url, lambda gate: gate.state())
        click.echo(f"slots    {state.held} of {state.slots} held")
        click.echo(f"queue    {state.waiting} of {state.queue_max} waiting")
        for name, engine in state.engines.items():
            limit = "" if engine.slots is None else f" of {engine.slots}"
            click.echo(f"engine   {name}: {engine.held}{limit} held")
        names = ", ".join(state.replica_names)
        click.echo(f"replicas {state.replicas}" + (f": {names}" if names else ""))


@slots_group.command("set")
@click.argument("count", type=click.IntRange(min=0))
@click.option("--engine", help="Set this engine's own capacity instead; 0 pauses it.")
@click.option("--redis-url", envvar="WSRUNNER_REDIS_URL", help="As for slots.")
@click.pass_obj
def set_slots(obj: str | None, count: int, engine: str | None, redis_url: str | None) -> None:
    """Set how many runs may run at once, across all replicas, from now on.

    Lowering it ends no run: new ones start once enough have ended.
    """
    if count == 0 and engine is None:
        raise click.BadParameter("a gate has at least 1 slot", param_hint="COUNT")

    async def resize(gate: Operator) -> None:
        if engine is None:
            await gate.resize(count)
            return
        known = (await gate.state()).engines
        if engine not in known:
            there = ", ".join(known) or "none"
            raise SetupError(f"no replica runs on an engine {engine!r}; there is {there}")
        await gate.resize_engine(engine, count)

    _operate(obj or redis_url, resize)


def _operate(url: str | None, do: Callable[[Any], Coroutine[Any, Any, Any]]) -> Any:
    """Do one thing with the gate at this URL."""
    if not url:
        raise SetupError(
            "slots are shared through Redis: give --redis-url or set WSRUNNER_REDIS_URL. "
            "A server without it has slots of its own, set by --slots."
        )
    import asyncio

    from wsrunner.errors import GateUnavailableError
    from wsrunner.gates.operator import Operator

    async def operate() -> Any:
        async with Operator(url) as gate:
            return await do(gate)

    try:
        return asyncio.run(operate())
    except GateUnavailableError as exc:
        raise SetupError(str(exc)) from exc
