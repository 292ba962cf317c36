"""Celery in, controllers run: the service that executes messages."""
