"""What paho does not publish, and ingest overrides, sets or reads: here and nowhere else.

`NAMES` is all of it. A release may move any; `tests/unit/test_upstream.py` says which did.
"""

NAMES = {
    "paho.mqtt.client:Client": {
        "_in_packet": "where paho's reading ends and its handling begins: a packet that came with many others",
        "_last_bytes_received": "paho takes a broker that it has not heard itself for gone",
        "_last_msg_out": "when a PING is due while nothing is read",
        "_loop_rc_handle(self, rc)": "ends a connection as paho does, and tells its callbacks",
        "_packet_handle(self)": "every packet but PUBLISH is paho's",
        "_packet_queue(self, command, packet, mid, qos, info)": "the PUBACKs of a batch are sent as one packet",
        "_ping_t": "an answer to PING is not missed while nothing is read",
        "_send_pingreq(self)": "PINGs are sent when silence is long, and counted to know a session empty",
        "_sock": "what an external loop reads and polls",
        "_sock_close(self)": "ends a connection without a word",
    },
}
"""Where it is → the name, with its parameters if that is a method → why."""
