"""`python -m routemq`: the command line, where its script is not on the PATH."""

from routemq.cli import main

main()
