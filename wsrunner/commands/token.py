"""``wsrunner token``: for who gives others access to a server."""

from __future__ import annotations

import click


@click.group("token")
def token_group() -> None:
    """Make access tokens."""


@token_group.command("new")
def new_command() -> None:
    """Print a new token, and its hash for the file of tenants (--tenants).

    Whoever has the token is the tenant; the server needs the hash alone. It is shown only now.
    """
    from wsrunner import tenants

    token = tenants.new_token()
    click.echo(f"token  {token}")
    click.echo(f"hash   {tenants.hash_of(token)}")
