"""A small MQTT broker for development: loopback only, in memory, MQTT 3.1.1 and 5, QoS 0 and 1, `$share`."""
