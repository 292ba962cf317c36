"""`python -m routemq_dev.broker`: the broker in the foreground, until SIGTERM or Ctrl-C."""

import argparse
import asyncio
import logging
import signal
import sys

from routemq_dev.broker.errors import NotLoopbackError
from routemq_dev.broker.server import Server


async def serve(host: str, port: int) -> None:
    """Run until a signal asks to stop."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    server = Server()
    bound_host, bound_port = await server.start(host, port)
    print(
        f"MQTT broker for development only on {bound_host}:{bound_port} (MQTT 3.1.1 and 5, QoS 1 at most to "
        "subscribers, no authentication; everything is in memory and lost when it stops)",
        flush=True,
    )
    await stop.wait()
    await server.stop()


def main(argv: list[str] | None = None) -> int:
    """Parse the command line and serve; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m routemq_dev.broker", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1", help="a loopback address (default: %(default)s)")
    parser.add_argument("--port", type=int, default=1883, help="0 takes a free one (default: %(default)s)")
    parser.add_argument("--log-level", default="INFO", choices=["DEBUG", "INFO", "WARNING", "ERROR"])
    arguments = parser.parse_args(argv)
    logging.basicConfig(level=arguments.log_level, format="%(asctime)s %(levelname)s mqtt-broker: %(message)s")
    try:
        asyncio.run(serve(arguments.host, arguments.port))
    except (NotLoopbackError, OSError, OverflowError) as exc:
        print(f"MQTT broker on {arguments.host}:{arguments.port}: {exc}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
