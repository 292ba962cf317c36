"""The sample application: what `docker compose up` and the demo run, and a pattern for one of your own."""
