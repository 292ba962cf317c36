"""What kombu and redis-py do not publish, and the transport overrides, sets or reads: here and nowhere else.

`NAMES` is all of it. A release may move any; `tests/unit/test_upstream.py` says which did.
"""

NAMES = {
    "kombu.transport.redis:Channel": {
        "_active_queues": "the queues that are consumed, in the order of their consumers",
        "_basic_cancel(self, consumer_tag)": "the last consumer's end gives back what was fetched for it",
        "_brpop_read(self, **options)": "what Celery's own transport cannot read is recorded, and ends no worker",
        "_brpop_start(self, timeout)": "kombu's fetch, which must never be sent",
        "_create_client(self, asynchronous)": "makes the client that is kept for publishing",
        "_delete(self, queue, exchange, routing_key, pattern, *args, **kwargs)": "deletes what waits for its time too",
        "_disconnect_pools(self)": "the client for publishing goes with its pool, as after a fork",
        "_expires": "the queues that Redis forgets when nobody uses them",
        "_get_client(self)": "the class of every client",
        "_get_message_priority(self, message, reverse)": "the step of priority, and so the list, of a message",
        "_get_pool(self, asynchronous)": "a pool of the lease's own",
        "_has_queue(self, queue, **kwargs)": "a queue is there while something waits for its time",
        "_in_listen": "the connection of remote control and events, whose silence is noticed",
        "_in_poll": "the connection on which a reply is due; kombu reads it when a channel is closed",
        "_lookup(self, exchange, routing_key, default)": "where what a stock worker lost goes",
        "_maybe_update_queues_expire(self, client, queue)": "a queue that expires does so after messages came back",
        "_purge(self, queue)": "purges what waits for its time too",
        "_put(self, queue, message, **kwargs)": "what has a time waits in Redis instead of a worker",
        "_q_for_pri(self, queue, pri)": "the list of a queue's step of priority",
        "_qos": "closed only if there is one",
        "_queue_bind(self, exchange, routing_key, pattern, queue)": "a full Redis keeps no worker from starting",
        "_queue_cycle": "whose turn it is",
        "_receive(self)": "tells that remote control and events are heard of",
        "_refresh_binding": "a full Redis takes the bindings of remote control",
        "_size(self, queue)": "counts what waits for its time too",
        "_subscribe(self)": "subscribing again is how a silent connection is asked for a sign of life",
        "_tag_to_queue": "the queue of a consumer",
        "_update_queue_cycle(self)": "the consumed queues, which are asked for in every turn, are worked out once",
    },
    "kombu.transport.redis:MultiChannelPoller": {
        "_chan_to_sock": "whether the socket of a wake-up connection is watched",
        "_channels": "all channels of a connection",
        "_client_registered(self, channel, client, cmd)": "whether the connection of the fetch is watched",
        "_fd_to_chan": "who reads a socket, and as what",
        "_in_protected_read": "kombu puts off a consumer's end while a message is being delivered",
        "_register(self, channel, client, type)": "tells the hub of a socket once, and not in every turn",
        "_register_BRPOP(self, channel)": "connects for our fetch instead of sending kombu's",
        "_register_LISTEN(self, channel)": "connects for remote control and events",
    },
    "kombu.transport.redis:Transport": {
        "_brpop_health_tref": "kombu's timer for dead connections, which looks too seldom",
        "_subclient_health_tref": "kombu's timer for the other connection, which uses PING",
    },
    "kombu.transport.redis:QoS": {
        "_delivered": "the messages in hand, by tag; kombu keeps methods of this very dict",
        "_on_collect": "kombu's way to give back at the process's end",
    },
    "kombu.transport.virtual:Message": {
        "_decode(self)": "a JSON body is decoded quickly",
        "_decoded_cache": "there is none yet, of a message that is made in fewer steps",
        "_raw": "the list item, of one that is made in fewer steps",
        "_state": "whether it is acknowledged",
    },
    "redis.client:PubSub": {
        "health_check_response_counter": "answers to a sign of life that are due",
        "is_health_check_response(self, response)": "which is read as if nothing had come",
        "parse_response(self, block, timeout)": "reads without connecting: who is not subscribed would wait for ever",
    },
    "redis.connection:Connection": {
        "_sock": "the socket that an event loop watches",
    },
}
"""Where it is → the name, with its parameters if that is a method → why."""
