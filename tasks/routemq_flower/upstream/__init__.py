"""What Flower and Tornado do not publish, and our pages override, set or read: here and nowhere else.

`NAMES` is all of it, but for Flower's templates and styles, which `tests/unit/test_flower.py` reads. A release may move
any; `tests/unit/test_upstream.py` says which did.
"""

NAMES = {
    "flower.app": {
        "Events": "its thread for events, in whose place ours is put",
    },
    "flower.app:Flower": {
        "events": "the thread that says whether workers are heard, and of which",
        "io_loop": "where Flower listens",
        "update_workers(self, workername)": "asks the workers anew after their hands were changed",
    },
    "flower.command": {
        "apply_options(prog_name, argv)": "what it cannot read of its options is said in one line",
    },
    "flower.events:Events": {
        "capp": "Celery's app, over whose broker events come",
        "on_event(self, event)": "where what is heard goes",
    },
    "flower.options": {
        "default_options": "without a word from its user Flower listens on loopback",
        "options": "what its variables, file and command line have made of each option",
    },
    "flower.urls": {
        "handlers": "the list of its pages, which gets ours",
        "settings": "where templates are found",
    },
    "flower.utils": {
        "strtobool(val)": "what Flower takes for yes and no",
    },
    "flower.views:BaseHandler": {
        "unauthenticated_api": "whether everybody may use its API",
    },
    "tornado.options:OptionParser": {
        "_options": "the type of an option, by which a value is looked at before Flower reads it",
    },
    "tornado.template:BaseLoader": {
        "_create_template(self, name)": "a template of ours lies over Flower's",
    },
}
"""Where it is → the name, with its parameters if that is a method → why."""
