"""What every gate promises, told once and held against each backend."""

import asyncio
import random

import pytest
from visits import Visit, settled

from wsrunner.errors import GateUnavailableError, QueueFullError
from wsrunner.gates.base import Shares, Ticket


async def test_a_free_slot_admits_at_once_and_tells_no_position(open_gate):
    async with open_gate(slots=1) as gate:
        visit = await Visit(gate).is_admitted()
        assert visit.positions == []
        assert visit.permit.waited_s == 0.0
        assert not visit.permit.lost.is_set()
        await visit.leave()
        await settled(gate, held=0)


async def test_a_waiter_hears_its_position_before_it_waits(open_gate):
    async with open_gate(slots=1) as gate:
        holder = await Visit(gate).is_admitted()
        first = await Visit(gate).is_queued()
        second = await Visit(gate).is_queued()
        assert (first.positions, first.waiting) == ([1], [1])
        assert (second.positions, second.waiting) == ([2], [2])
        assert await settled(gate, held=1, waiting=2)
        for visit in (holder, first, second):
            await visit.is_admitted()
            await visit.leave()
        assert second.permit.waited_s > 0


async def test_grants_follow_the_queue(open_gate):
    async with open_gate(slots=1) as gate:
        visits = [await Visit(gate).is_admitted()]
        visits += [await Visit(gate).is_queued() for _ in range(9)]
        for visit in visits:
            await visit.is_admitted()
            assert (await gate.state()).held == 1
            await visit.leave()
        fences = [visit.permit.fence for visit in visits]
        assert fences == sorted(set(fences))


async def test_positions_fall_and_never_rise(open_gate):
    async with open_gate(slots=1) as gate:
        holder = await Visit(gate).is_admitted()
        visits = [await Visit(gate).is_queued() for _ in range(6)]
        last = visits[-1]
        assert last.positions == [6]
        await visits[2].cancel()
        await last.at_position(5)
        await visits[0].cancel()
        await last.at_position(4)
        late = await Visit(gate).is_queued()
        assert late.positions == [5]
        await holder.leave()
        await visits[1].is_admitted()
        await last.at_position(3)
        assert last.positions == sorted(last.positions, reverse=True)
        for visit in (visits[1], visits[3], visits[4], last, late):
            await visit.is_admitted()
            await visit.leave()


async def test_a_full_engine_is_passed_over_and_keeps_its_waiters_places(open_gate):
    async with open_gate(slots=3, engine_slots={"a": 1}) as gate:
        on_a = await Visit(gate, "a").is_admitted()
        waits_for_a = await Visit(gate, "a").is_queued()
        also_for_a = await Visit(gate, "a").is_queued()
        on_b = await Visit(gate, "b").is_admitted()
        also_on_b = await Visit(gate, "b").is_admitted()
        waits_for_b = await Visit(gate, "b").is_queued()
        assert waits_for_b.positions == [3]
        await on_b.leave()
        await waits_for_b.is_admitted()
        assert not waits_for_a.admitted.is_set()
        await on_a.leave()
        await waits_for_a.is_admitted()
        assert not also_for_a.admitted.is_set()
        state = await gate.state()
        assert (state.held, state.waiting) == (3, 1)
        assert (state.engines["a"].held, state.engines["a"].slots) == (1, 1)
        assert (state.engines["b"].held, state.engines["b"].slots) == (2, None)
        for visit in (waits_for_a, also_for_a, also_on_b, waits_for_b):
            await visit.is_admitted()
            await visit.leave()


async def test_an_engine_can_be_paused_shrunk_and_freed_while_it_runs(open_gate):
    async with open_gate(slots=4) as gate:
        await gate.resize_engine("a", 0)
        paused = [await Visit(gate, "a").is_queued() for _ in range(3)]
        await (await Visit(gate, "b").is_admitted()).leave()
        await gate.resize_engine("a", 1)
        await paused[0].is_admitted()
        assert not paused[1].admitted.is_set()
        await gate.resize_engine("a", None)
        for visit in paused:
            await visit.is_admitted()
        await gate.resize_engine("a", 1)
        assert (await gate.state()).held == 3
        for visit in paused:
            await visit.leave()


async def test_a_tenant_at_its_share_is_passed_over(open_gate):
    async with open_gate(slots=3, shares=Shares(slots=2)) as gate:
        greedy = [await Visit(gate, tenant="g").is_admitted() for _ in range(2)]
        kept_back = await Visit(gate, "a", tenant="g").is_queued()
        also_back = await Visit(gate, "b", tenant="g").is_queued()
        modest = await Visit(gate, tenant="m").is_admitted()
        behind = await Visit(gate, tenant="m").is_queued()
        await greedy[0].leave()
        await kept_back.is_admitted()
        await greedy[1].leave()
        await also_back.is_admitted()
        assert not behind.admitted.is_set()
        await modest.leave()
        await behind.is_admitted()
        for visit in (kept_back, also_back, behind):
            await visit.leave()
        await settled(gate, held=0, waiting=0)


async def test_a_tenants_queue_share_is_bounded(open_gate):
    async with open_gate(slots=1, shares=Shares(queue=1)) as gate:
        holder = await Visit(gate, tenant="g").is_admitted()
        waits = await Visit(gate, tenant="g").is_queued()
        with pytest.raises(QueueFullError, match="share") as caught:
            await Visit(gate, tenant="g").is_queued()
        assert caught.value.retry_after_s > 0
        other = await Visit(gate, tenant="o").is_queued()
        for visit in (holder, waits, other):
            await visit.is_admitted()
            await visit.leave()


async def test_a_tenant_may_have_shares_of_its_own(open_gate):
    async with open_gate(slots=3, shares=Shares(slots=1)) as gate:
        await gate.share("big", Shares(slots=2, queue=1))
        big = [await Visit(gate, tenant="big").is_admitted() for _ in range(2)]
        waits = await Visit(gate, tenant="big").is_queued()
        with pytest.raises(QueueFullError, match="share"):
            await Visit(gate, tenant="big").is_queued()
        small = await Visit(gate, tenant="small").is_admitted()
        await gate.share("big", Shares(slots=3))
        kept_back = await Visit(gate, tenant="small").is_queued()
        await small.leave()
        await waits.is_admitted()
        assert not kept_back.admitted.is_set()
        for visit in (*big, waits, kept_back):
            await visit.is_admitted()
            await visit.leave()
        await settled(gate, held=0, waiting=0)


async def test_who_has_nothing_stands_before_who_runs_and_waits(open_gate):
    async with open_gate(slots=1) as gate:
        greedy = [await Visit(gate, user="greedy").is_admitted()]
        greedy += [await Visit(gate, user="greedy").is_queued() for _ in range(3)]
        modest = await Visit(gate, user="modest").is_queued()
        assert modest.positions == [1]
        await greedy[3].at_position(4)
        assert greedy[3].positions == [3, 4]
        again = await Visit(gate, user="modest").is_queued()
        assert again.positions == [3]
        for visit in (greedy[0], modest, greedy[1], again, greedy[2], greedy[3]):
            await visit.is_admitted()
            await visit.leave()
        await settled(gate, held=0, waiting=0)


async def test_who_comes_anew_keeps_nobody_waiting_for_ever(open_gate):
    """A round closes after as many grants as it had tickets at its beginning, and one more."""
    async with open_gate(slots=1) as gate:
        holder = await Visit(gate, user="h").is_admitted()
        first = await Visit(gate, user="a").is_queued()
        second_run = await Visit(gate, user="h").is_queued()
        joins = await Visit(gate, user="b").is_queued()
        assert joins.positions == [2]
        await holder.leave()
        await first.is_admitted()
        await first.leave()
        await joins.is_admitted()
        joins_late = await Visit(gate, user="c").is_queued()
        assert joins_late.positions == [1]
        await joins.leave()
        await joins_late.is_admitted()
        too_late = await Visit(gate, user="d").is_queued()
        assert too_late.positions == [2]
        for visit in (joins_late, second_run, too_late):
            await visit.is_admitted()
            await visit.leave()


async def test_users_of_the_same_name_are_two_in_two_tenants(open_gate):
    async with open_gate(slots=1) as gate:
        one = [await Visit(gate, tenant="one", user="u").is_admitted()]
        one += [await Visit(gate, tenant="one", user="u").is_queued()]
        two = await Visit(gate, tenant="two", user="u").is_queued()
        for visit in (one[0], two, one[1]):
            await visit.is_admitted()
            await visit.leave()


async def test_nobody_alone_fills_the_queue(open_gate):
    async with open_gate(slots=1, queue_max=6) as gate:
        visits = [await Visit(gate, user="greedy").is_admitted()]
        visits += [await Visit(gate, user="greedy").is_queued() for _ in range(3)]
        with pytest.raises(QueueFullError, match="3 of your runs wait") as caught:
            await Visit(gate, user="greedy").is_queued()
        assert caught.value.retry_after_s > 0
        visits += [await Visit(gate, user=f"u{number}").is_queued() for number in range(3)]
        with pytest.raises(QueueFullError, match="6 of 6"):
            await Visit(gate, user="late").is_queued()
        for visit in visits:
            visit.go.set()
        for visit in visits:
            await visit.leave()


async def test_an_estimate_comes_once_a_permit_has_ended(open_gate):
    async with open_gate(slots=1) as gate:
        first = await Visit(gate).is_admitted()
        early = await Visit(gate).is_queued()
        assert early.etas_s == [None]
        await first.leave()
        await early.is_admitted()
        late = await Visit(gate).is_queued()
        later = await Visit(gate).is_queued()
        assert 0 < late.etas_s[0] * 2 == pytest.approx(later.etas_s[0])
        for visit in (early, late, later):
            await visit.is_admitted()
            await visit.leave()


async def test_a_full_queue_refuses_and_says_when_to_return(open_gate):
    async with open_gate(slots=1, queue_max=2) as gate:
        holder = await Visit(gate).is_admitted()
        waits = [await Visit(gate).is_queued() for _ in range(2)]
        with pytest.raises(QueueFullError, match="2 of 2") as caught:
            await Visit(gate).is_queued()
        assert 1 <= caught.value.retry_after_s <= 60
        await waits[0].cancel()
        waits[0] = await Visit(gate).is_queued()
        for visit in (holder, waits[1], waits[0]):
            await visit.is_admitted()
            await visit.leave()


async def test_without_a_queue_only_free_slots_admit(open_gate):
    async with open_gate(slots=1, queue_max=0) as gate:
        holder = await Visit(gate).is_admitted()
        with pytest.raises(QueueFullError):
            await Visit(gate).is_queued()
        await holder.leave()
        await settled(gate, held=0)
        await (await Visit(gate).is_admitted()).leave()


async def test_more_slots_admit_waiters_and_fewer_end_nobody(open_gate):
    async with open_gate(slots=1) as gate:
        visits = [Visit(gate)]
        await visits[0].is_admitted()
        visits += [await Visit(gate).is_queued() for _ in range(3)]
        await gate.resize(3)
        for visit in visits[:3]:
            await visit.is_admitted()
        await gate.resize(1)
        assert (await gate.state()).held == 3
        await visits[0].leave()
        await visits[1].leave()
        await settled(gate, held=1)
        assert not visits[3].admitted.is_set()
        await visits[2].leave()
        await visits[3].is_admitted()
        await visits[3].leave()
        with pytest.raises(ValueError, match="at least 1"):
            await gate.resize(0)
        with pytest.raises(ValueError, match="0 slots or more"):
            await gate.resize_engine("a", -1)


async def test_a_live_ticket_id_is_refused(open_gate):
    async with open_gate(slots=1) as gate:
        holder = await Visit(gate, name="same").is_admitted()
        with pytest.raises(ValueError, match="same"):
            await Visit(gate, name="same").is_admitted()
        assert (await gate.state()).held == 1
        await holder.leave()


async def test_a_body_that_raises_gives_its_slot_back(open_gate):
    async with open_gate(slots=1) as gate:
        with pytest.raises(ZeroDivisionError):
            async with gate.admit(Ticket("z"), on_position=lambda *_: None):
                raise ZeroDivisionError
        await (await Visit(gate).is_admitted()).leave()


async def test_cancelling_a_waiter_frees_its_place(open_gate):
    async with open_gate(slots=1) as gate:
        holder = await Visit(gate).is_admitted()
        gone, stays = await Visit(gate).is_queued(), await Visit(gate).is_queued()
        await gone.cancel()
        await settled(gate, waiting=1)
        await holder.leave()
        await stays.is_admitted()
        await stays.leave()


@pytest.mark.parametrize("turns", range(12))
async def test_cancelling_in_any_turn_of_the_loop_leaks_nothing(open_gate, turns):
    async with open_gate(slots=1) as gate:
        for contended in (False, True):
            holder = await Visit(gate).is_admitted() if contended else None
            visit = Visit(gate)
            if contended:
                await visit.is_queued()
                holder.go.set()
            for _ in range(turns):
                await asyncio.sleep(0)
            await visit.cancel()
            if contended:
                await holder.task
            await settled(gate, held=0, waiting=0)
            after = await Visit(gate).is_admitted()
            await after.leave()
            await settled(gate, held=0)


async def test_a_cancelled_grant_is_passed_on(open_gate):
    async with open_gate(slots=1) as gate:
        holder = await Visit(gate).is_admitted()
        first, second = await Visit(gate).is_queued(), await Visit(gate).is_queued()
        holder.go.set()
        await asyncio.sleep(0)
        first.task.cancel()
        await second.is_admitted()
        await second.leave()
        await settled(gate, held=0, waiting=0)


async def test_never_more_than_n_and_nobody_stranded_in_a_crowd(open_gate):
    dice = random.Random(7)
    running, most, most_on_a, served = [], 0, 0, 0

    async with open_gate(slots=4, engine_slots={"a": 2}) as gate:

        async def one(number):
            nonlocal most, most_on_a, served
            ticket = Ticket(f"crowd{number}", engine=dice.choice("ab"))
            async with gate.admit(ticket, on_position=lambda *_: None):
                running.append(ticket.engine)
                most = max(most, len(running))
                most_on_a = max(most_on_a, running.count("a"))
                try:
                    for _ in range(dice.randrange(5)):
                        await asyncio.sleep(0)
                finally:
                    running.remove(ticket.engine)
                served += 1

        tasks = [asyncio.create_task(one(number)) for number in range(400)]
        for task in dice.sample(tasks, 100):
            await asyncio.sleep(0)
            task.cancel()
        await asyncio.wait(tasks)
        assert most <= 4
        assert most_on_a <= 2
        assert served >= 300
        await settled(gate, held=0, waiting=0)


async def test_closing_ends_the_waiters(open_gate):
    async with open_gate(slots=1) as gate:
        holder = await Visit(gate).is_admitted()
        waiter = await Visit(gate).is_queued()
    with pytest.raises(GateUnavailableError):
        await waiter.task
    with pytest.raises(GateUnavailableError):
        await Visit(gate).is_admitted()
    await holder.leave()
