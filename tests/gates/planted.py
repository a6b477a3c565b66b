"""Bugs planted into the scripts, each by a change of their text: the tests must notice."""

BUGS = {
    "a release ignores the fence": (
        "if fence ~= 0 and (kind ~= 'h' or count ~= fence) then return false end",
        "",
    ),
    "a late release frees a slot": (
        "if not packed then return false end",
        "if not packed then add('held', -1) return true end",
        "if not packed then return {'none'} end",
        "if not packed then redis.call('HINCRBY', gate, 'held', -1) return {'none'} end",
    ),
    "a renewal takes an ended lease up again": (
        "if tonumber(redis.call('ZSCORE', G .. ':replicas', replica)) < clock then",
        "if false then",
        "put('link:' .. replica, false)",
        "",
    ),
    "nobody waits for claims": ("put('open_at', wall + settle_us)", "put('open_at', 0)"),
    "a grant is out of order": ("redis.call('ZPOPMIN', lane", "redis.call('ZPOPMAX', lane"),
    "a full engine is not passed over": (
        "return not cap or number('e:' .. engine) < tonumber(cap)",
        "return true",
        "(not now[7] or (now[8] or 0) + 0 < now[7] + 0)",
        "true",
    ),
    "a counter drifts": (
        "    add('held', -1)\n    add('e:' .. engine, -1)",
        "    if count % 2 ~= 0 then add('held', -1) end\n    add('e:' .. engine, -1)",
        "    redis.call('HINCRBY', gate, 'held', -1)\n    if",
        "    if fence % 2 ~= 0 then redis.call('HINCRBY', gate, 'held', -1) end\n    if",
    ),
    "a grant is not kept for the next beat": (
        "redis.call('RPUSH', G .. ':inbox:' .. replica, letter)",
        "",
    ),
    "a departure is missing in the feed": (
        "redis.call('RPUSH', G .. ':feed', digits(seq))",
        "if seq % 3 ~= 0 then redis.call('RPUSH', G .. ':feed', digits(seq)) end",
    ),
    "an old connection may still speak": (
        "text('link:' .. replica) ~= link",
        "false",
        "now[2] ~= link",
        "false",
    ),
    "a user has several turns in a round": (
        "round = math.max(round, tonumber(found[2]) + 1)",
        "round = round + 0",
    ),
    "who holds is served as early as who does not": (
        "if holds then round = round + 1 end",
        "",
    ),
    "who was served is forgotten in the same round": (
        "'(' .. digits(current), 'LIMIT', 1, 2)",
        "digits(current), 'LIMIT', 2, 2)",
    ),
    "who went before others is missing in the feed": (
        "redis.call('RPUSH', G .. ':feed', '-' .. digits(seq))",
        "redis.call('RPUSH', G .. ':feed', digits(seq))",
    ),
    "a stepped clock ends leases": ("math.min(passed, step_us)", "passed"),
    "one grant too many": (
        "number('held') < number('slots') do",
        "number('held') <= number('slots') do",
    ),
    "a freed slot is not passed on": (
        "then return {'none'} end\ngrant(GRANTS_PER_CALL)",
        "then return {'none'} end",
    ),
}


def planter(name):
    """Return a function that plants the bug into a script's text wherever it fits."""
    words = BUGS[name]

    def change(text):
        for sound, planted in zip(words[::2], words[1::2], strict=True):
            text = text.replace(sound, planted)
        return text

    return change
