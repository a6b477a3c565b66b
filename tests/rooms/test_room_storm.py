"""A room that is written into in a storm; ``python -m tests.rooms.storm`` does it for longer."""

import asyncio
import random

from tests.rooms.storm import RoomStorm, trouble
from tests.serving import SHORT_LEASE_S

LENGTH_S = 15


async def test_nothing_that_was_written_is_lost_while_connections_break_off(start_server):
    server = start_server()
    storm = RoomStorm([server.address], seed=1, cut_every_s=1.0)
    await storm.go(writers=4, length_s=LENGTH_S)
    assert storm.seen["cuts"] > 10


async def test_nor_while_servers_die_stop_and_stand_still(replicas):
    servers = replicas(3, lease_s=SHORT_LEASE_S, drain_s=0)
    storm = RoomStorm([each.address for each in servers], seed=2)
    async with asyncio.TaskGroup() as group:
        group.create_task(trouble(servers, random.Random(3), storm, LENGTH_S))
        group.create_task(storm.go(writers=4, length_s=LENGTH_S))
    assert storm.seen["members"] > 0
