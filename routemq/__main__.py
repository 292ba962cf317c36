"""`python -m routemq`, the same as the command `routemq`."""

from routemq.cli import main

main(prog_name="routemq")
