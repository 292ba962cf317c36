"""`routemq bench`: how fast this machine carries messages from a publisher to a controller, beside a naive bridge."""
