"""`routemq routes`, also a command of Celery's: any program of Celery's in this environment loads this file."""

import click


@click.command(
    short_help="Every route: topics, queue, controller.",
    help="Show every route: which topics go to which controller, on which queue.",
)
@click.option("--json", "as_json", is_flag=True, help="Print a JSON array, with where each route is declared.")
@click.option("--check", is_flag=True, help="Fail when a controller that is given by name cannot be imported.")
@click.option("--queues", is_flag=True, hidden=True, help="Print all queues, also those of the own tasks, as JSON.")
def routes(as_json: bool, check: bool, queues: bool) -> None:
    # It takes Redis, settings and tables along, which another program does not need.
    from routemq.cli.route_list import show_queues, show_routes

    if queues:
        show_queues()
    else:
        show_routes(as_json=as_json, check=check)
