"""What redis-py and paho do not publish, and the core overrides, sets or reads: here and nowhere else.

`NAMES` is all of it. A release may move any; `tests/unit/test_upstream.py` says which did.
"""

NAMES = {
    "redis.connection:Connection": {
        "_connect(self)": "a name server or a Redis that does not answer holds nobody up for long",
        "_sock": "a connection that is closed is not one to leave, and a loop polls its socket",
    },
    "redis.connection:SSLConnection": {
        "_wrap_socket_with_ssl(self, sock)": "a Redis without TLS is told from one that is not there",
    },
    "paho.mqtt.client:Client": {
        "_connect_timeout": "how long a TLS handshake may take",
        "_host": "the name that a certificate must have",
        "_ssl_context": "what TLS takes",
        "_ssl_wrap_socket(self, tcp_sock)": "a socket whose TLS handshake fails is closed",
    },
}
"""Where it is → the name, with its parameters if that is a method → why."""
