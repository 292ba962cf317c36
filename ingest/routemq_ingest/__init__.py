"""MQTT in, Celery messages out: the service that subscribes and hands over."""
