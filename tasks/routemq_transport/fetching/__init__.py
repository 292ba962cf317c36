"""Fetching: from a list in Redis to a channel's consumers, in as few round trips as there is room for.

    intake     does what is due in each turn of the event loop: deliver, acknowledge, fetch
    pace       when to fetch
    room       how much to take, and when a message that must run alone
    fetcher    the fetch on its connection: sent in one turn, read in a later one
    wakeup     how Redis tells an idle worker that there is something
    consumers  what an intake asks of its channel

No kombu in here: kombu's channel is one kind of `Consumers`. All of it belongs to the thread of the event loop. Clocks
are arguments, so that a day passes in no time where no Redis is needed.
"""
