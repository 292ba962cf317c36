"""Numbers of a running fleet: who is there, what waits, how fast it goes."""
