"""Holding: what a worker has taken and Redis has not been told the end of.

    lease              all that one channel holds: acknowledged in batches, renewed in time, given back
    acknowledgements   what is done and goes out with the next batch
    returns            what is to be given back, until Redis has it
    starts             which of it runs, told before it runs, so that the loss of this worker is a strike for it
    rescue             what other workers held that are gone
    clock              whether Redis' clock can be believed when it says so

No kombu in here. These are the threads, and what each may touch:

    loop     the event loop's; with gevent any greenlet of it. Takes messages in (`hold`) and ends the lease
             (`let_go`, `end`); where tasks run elsewhere, it does all that tasks do
    tasks    those of a pool of threads, in which tasks start and end: `starting`, `done`, `put_back`, and so `flush`
    lease    one for each lease: renews, restores, and does again what failed while Redis was away
    health   reads `overdue_s`

    what is shared           who                            how
    ----------------------   ----------------------------   ------------------------------------------------------------
    Lease: held tags         loop adds; loop, tasks and     one step of a dict at a time, and every walk over a copy:
                             lease take out                 `pop` decides who took a tag out. No lock on the way of a
                                                            message
    Lease: suspects          loop adds; tasks take out      one step of a set at a time
    Lease: orphans, ending   loop, once; lease reads        set after what they tell of
    Lease: renewed at        lease; health reads            a number
    Acknowledgements         all                            its lock, never held over a round trip
    Returns                  all                            its lock, never held over a round trip
    Starts: connection,      all                            its lock, held over a write that waits a second at most; not
    marks taken back                                        over the connecting
    Starts: what is marked   loop, tasks and lease          one step of a set or dict at a time; `pop` decides
    Rescue                   lease alone
    the client               all                            each command takes a connection of the pool for itself
"""
