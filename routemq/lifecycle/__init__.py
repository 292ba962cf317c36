"""The life of a message: every state it can be in, and every step from one to another.

Once Redis has it, a message is in exactly one state, at every instruction of every script:

    queued     in the list of its queue (and priority)
    delayed    in the delayed set of that list, until its time
    held       in `unacked` and `unacked_index`, under a delivery tag: a worker has it, as long as it renews
    dead       among the dead letters
    binned     among what an operator has discarded, for a day

Before that it is the MQTT broker's; afterwards it is done, or archived, or its time in the bin is over. `queues.py` is
the legend of all keys. These are the steps; each is a script, and a verb of `moves.py`:

    enqueue       broker → queued             ingest has received it
    bury_direct   broker → dead               it cannot become a task
    fetch         queued → held               a worker has room for it; what is due goes delayed → queued before
    promote       delayed → queued            it is due, and only workers with Celery's own transport are there
    hasten        delayed → queued            `celery migrate` takes it along before its time
    acknowledge   held → done                 its run has succeeded, or Celery is done with it
    retry_later   held → delayed              its run has failed, and it is run again
    give_back     held → delayed              nobody can run it here, or its outcome was not recorded
    set_aside     held → delayed              its route is paused, and others of its queue are not; without a due time
    take_up       delayed → queued            its route is resumed: to the front
    put_back      held → queued, delayed      the worker stops, or was not to run it: unread to the front, else counted
    restore       held → queued, delayed      its worker is gone; a strike if it was running
    requeue       held → queued               the same for a worker with Celery's own transport
    bury          held → dead                 no further run would help
    replay        dead → queued               an operator wants it run again
    discard       dead → binned, gone         an operator; or retention, after it was archived
    undo          binned → dead               the operator has thought better of it
    import        gone → dead                 an operator brings an archive back

Three more leave a message where it is: `renew` prolongs what is held, `start` marks what runs, `pause` keeps a route
from being run.

Redis does not roll a script back. `look.lua` stands before each: what can fail is looked at before the first write, and
a key that is not ours to use is an `UnusableKeyError`, or is left alone and named in the log (`scripts.py`). Strikes,
deliveries and what they lead to are in `limits.py`; a list item carries its own (`mark.lua`, `routemq/mark.py`).
`bin.lua`, `due.lua`, `hands.lua`, `letters.lua` and `mark.lua` hold what several scripts share.

`tests/integration/test_lifecycle.py` runs all of it in any order, with any key in the way and any command forbidden.
"""
