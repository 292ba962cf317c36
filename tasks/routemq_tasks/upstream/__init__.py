"""What Celery, kombu, billiard and paho do not publish, and a worker overrides, sets or reads: here and nowhere else.

`NAMES` is all of it. A release may move any; `tests/unit/test_upstream.py` says which did.
"""

_FILLED = "a request that is made in fewer steps has what Celery would put there"

_LEAN = "a job that is made in fewer steps has what billiard asks of it"

NAMES = {
    "celery._state": {
        "pop_current_task": "a run's task is the current one no more",
        "push_current_task": "what `celery.current_task` says in a run",
        "_task_stack": "where that is kept, by thread",
    },
    "celery.utils.threads:LocalStack": {
        "_local": "what of it belongs to a thread is found in fewer steps",
    },
    "celery.app.trace": {
        "_localized": "the tasks, as a child finds them",
        "_signal_internal_error(task, uuid, args, kwargs, request, exc)": "tells what went wrong beside a run",
    },
    "celery.app.task:Context": {
        "_protected": "whether a run has begun, and what it calls is another",
    },
    "celery.bin.migrate": {
        "Connection": "the command connects by itself, and would not as our app does",
    },
    "celery.concurrency.asynpool:AsynPool": {
        "_event_process_exit(self, hub, proc)": "a child that has ended is seen at once, if the kernel takes its time",
        "_on_hard_timeout(self, job)": "ends a child only while it runs that very job",
        "_active_writes": "a pipe that a job is being written to gets no other",
        "_all_inqueues": "how many children there are",
        "_busy_workers": "the children that have a job",
        "_create_write_handlers(self, hub, pack, dumps, protocol)": "where Celery decides how jobs reach the children",
        "_fileno_to_inq": "the child at the end of a pipe",
        "_quick_put": "what the pool is given a job with",
    },
    "billiard.pool:Pool": {
        "_state": "whether the pool still runs",
        "_cache": "the jobs that have no result",
        "_pool": "the children",
        "_process_by_pid(self, pid)": "the child that is told that its parent may end it",
        "_iterinactive(self)": "the children that a pool may end as it shrinks",
        "_on_ready_counters": "a child that ends waits until what it has done is known",
        "_worker_active(self, worker)": "a child has a job before it has told that it started it",
    },
    "billiard.pool:ApplyResult": {
        "_ack(self, i, time_accepted, pid, synqW_fd)": "tells a request that its run has begun",
        "_set(self, i, obj)": "tells a request how its run has ended",
        "_terminated": "whether an operator has ended the run",
        "_worker_pid": "the child that has begun it",
        "_job": _LEAN,
        "_lost_worker_timeout": _LEAN,
        "_soft_timeout": _LEAN,
        "_time_accepted": _LEAN,
        "_timeout": _LEAN,
        "_accept_callback": "leads from a job to its request, whose start is told as it is written",
        "_accepted": "whether a child has said that it started a job",
    },
    "celery.concurrency.asynpool": {
        "_is_alive": "whether the child that a job was written to lives",
        "_payload": "a job as it is written",
        "_scheduled_for": "the child that a job is meant for",
        "_write_to": "the child that a job was written to",
    },
    "celery.concurrency.asynpool:ResultHandler": {
        "_make_process_result(self, hub)": "reads all results that are there in one system call",
    },
    "billiard.pool:Worker": {
        "_shutdown": "tells a child that another takes its place",
        "_ensure_messages_consumed(self, completed)": "a child that ends has its page looked at before",
        "_make_child_methods(self, loads)": "a child sends nothing that its parent cannot read",
    },
    "celery.concurrency.prefork:TaskPool": {
        "_pool": "billiard's pool",
    },
    "celery.events.dispatcher:EventDispatcher": {
        "_group_buffer": "what waits for its batch outlives a lost connection",
        "_outbound_buffer": "batches that cannot be sent are kept, so many",
    },
    "celery.utils.dispatch.signal:Signal": {
        "_live_receivers(self, sender)": "whoever listens fails for himself, and keeps no other from hearing",
    },
    "celery.worker.autoscale:Autoscaler": {
        "_shrink(self, n)": "ends idle hands, and none that runs something",
        "_update_consumer_prefetch_count(self, new_max)": "what is taken in hand goes by the hands there are",
    },
    "celery.worker.consumer:Consumer": {
        "_flush_events(self)": "events are sent now and then, and at the end",
        "_maximum_prefetch_restored": "whether Celery waits for acknowledgements to take more in hand",
    },
    "celery.worker.request:Request": {
        "_already_cancelled": "an operator has ended the run",
        "_already_revoked": "likewise",
        "_apply_result": "what an operator's command ends",
        "_terminate_on_ack": "an operator has ended the run before it began",
        "_announce_revoked(self, reason, terminated, signum, expired)": "what is revoked is not counted as done",
        "_context": "what signals are told of a run",
        "_payload": "the decoded body, of one that is made in fewer steps",
        "_app": _FILLED,
        "_args": _FILLED,
        "_argsrepr": _FILLED,
        "_body": _FILLED,
        "_connection_errors": _FILLED,
        "_content_encoding": _FILLED,
        "_content_type": _FILLED,
        "_decoded": _FILLED,
        "_delivery_info": _FILLED,
        "_eta": _FILLED,
        "_eventer": _FILLED,
        "_expires": _FILLED,
        "_hostname": _FILLED,
        "_ignore_result": _FILLED,
        "_kwargs": _FILLED,
        "_kwargsrepr": _FILLED,
        "_message": _FILLED,
        "_on_ack": _FILLED,
        "_on_reject": _FILLED,
        "_parent_id": _FILLED,
        "_request_dict": _FILLED,
        "_root_id": _FILLED,
        "_task": _FILLED,
        "_type": _FILLED,
        "_utc": _FILLED,
    },
    "kombu.message:Message": {
        "_decoded_cache": "the decoded body, which is decoded once",
    },
    "paho.mqtt.client:Client": {
        "_in_packet": "the packet that paho is about to handle",
        "_out_messages": "a publish that was refused is in flight no more",
        "_packet_handle(self)": "paho takes a refused publish for a success",
        "_sock_close(self)": "ends a connection without a word",
    },
    "kombu.transport.virtual:Message": {
        "_raw": "the list item, with what came of the message before",
    },
}
"""Where it is → the name, with its parameters if that is a method → why."""
