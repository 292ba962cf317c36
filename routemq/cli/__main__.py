"""`python -m routemq.cli`, for processes that one of the commands starts."""

from routemq.cli import main

main(prog_name="routemq")
