"""A small MQTT broker for development: loopback, in memory, MQTT 3.1.1 and 5, `$share`, QoS 2 of publishers alone."""
