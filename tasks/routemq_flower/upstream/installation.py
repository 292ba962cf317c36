"""Put our pages into Flower before it starts."""

import os
from pathlib import Path

import flower.app
import flower.command
from flower.options import default_options
from flower.urls import handlers, settings
from tornado.web import url

from routemq_flower.change_api import (
    BulkChange,
    DiscardUndo,
    LetterChange,
    LetterCheck,
    LettersGone,
    OperationProgress,
    OperationStop,
)
from routemq_flower.history_api import LetterAudit, LetterOutcome, ReplayDetails
from routemq_flower.letter_api import (
    LetterCount,
    LetterDetails,
    LetterList,
    LetterNeighbours,
    LetterOverview,
)
from routemq_flower.letter_downloads import LetterDownload, LetterExport
from routemq_flower.pages import (
    ChangesPage,
    DeadLettersPage,
    LetterOfTask,
    LetterPage,
    OwnFiles,
    ReplayPage,
    RetriesPage,
    RouteHistoryPage,
    RoutesPage,
)
from routemq_flower.retry_api import RetryList
from routemq_flower.route_api import RouteList, RoutePause, WorkerHands
from routemq_flower.route_history_api import RouteHistory
from routemq_flower.upstream.checked_options import check_environment, check_when_complete, guarded
from routemq_flower.upstream.steady_events import SteadyEvents
from routemq_flower.upstream.templates import OverlaidTemplates

_OWN_FOLDER = Path(__file__).parents[1]


def install() -> None:
    """Add the pages, the JSON API and the entries in the navigation.

    All of Flower's own options keep their meaning: this runs before it reads `FLOWER_…`, its configuration file and its
    command line, and displaces none of them. Doing it twice changes nothing.

    Raises:
        ConfigurationError: Flower could not read one of its variables.
    """
    if "template_loader" in settings:
        return
    check_environment(os.environ)
    check_when_complete()
    flower.command.apply_options = guarded(flower.command.apply_options)
    # Before the last handler, which answers everything with "not found". With `url`, because Flower forgets the
    # arguments of a plain tuple's handler under --url_prefix.
    handlers[-1:-1] = [
        url(r"/dead-letters", DeadLettersPage, name="dead-letters"),
        url(r"/dead-letters/([^/]+)", LetterPage, name="dead-letter"),
        url(r"/dead-letters/of-task/([^/]+)", LetterOfTask, name="letter-of-task"),
        url(r"/dead-letters/replays/([0-9a-f]+)", ReplayPage, name="replay"),
        url(r"/dead-letter-changes", ChangesPage, name="changes"),
        url(r"/routes", RoutesPage, name="routes"),
        url(r"/routes/history", RouteHistoryPage, name="route-history"),
        url(r"/routes/retries", RetriesPage, name="retries"),
        url(r"/routemq/static/(.*)", OwnFiles, {"path": str(_OWN_FOLDER / "static")}, name="routemq-static"),
        url(r"/api/dead-letters", LetterList),
        url(r"/api/dead-letters/overview", LetterOverview),
        url(r"/api/dead-letters/count", LetterCount),
        url(r"/api/dead-letters/export", LetterExport),
        url(r"/api/dead-letters/audit", LetterAudit),
        url(r"/api/dead-letters/replays/([0-9a-f]+)", ReplayDetails),
        url(r"/api/dead-letters/(replay|discard)", BulkChange),
        url(r"/api/dead-letters/undo", DiscardUndo),
        url(r"/api/dead-letters/gone", LettersGone),
        url(r"/api/dead-letters/operations/([0-9a-f]+)", OperationProgress),
        url(r"/api/dead-letters/operations/([0-9a-f]+)/stop", OperationStop),
        url(r"/api/dead-letters/letter/([^/]+)", LetterDetails),
        url(r"/api/dead-letters/letter/([^/]+)/(payload|message)", LetterDownload),
        url(r"/api/dead-letters/letter/([^/]+)/neighbours", LetterNeighbours),
        url(r"/api/dead-letters/letter/([^/]+)/outcome", LetterOutcome),
        url(r"/api/dead-letters/letter/([^/]+)/check", LetterCheck),
        url(r"/api/dead-letters/letter/([^/]+)/(replay|discard)", LetterChange),
        url(r"/api/routes", RouteList),
        url(r"/api/routes/history", RouteHistory),
        url(r"/api/routes/retries", RetryList),
        url(r"/api/routes/(pause|resume)", RoutePause),
        url(r"/api/workers/(grow|shrink)", WorkerHands),
    ]
    settings["template_loader"] = OverlaidTemplates(
        own=_OWN_FOLDER / "templates", flowers=Path(settings["template_path"])
    )
    # Flower has no option for it.
    flower.app.Events = SteadyEvents
    # Flower's own default is every interface. This is the weakest word: any option, variable or file overrides it.
    default_options.address = "127.0.0.1"
