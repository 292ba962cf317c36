"""One route whose messages take no time: they succeed, are rejected, or kill their process."""

import os

from routemq import Reject, Router


def act(kind: str) -> None:
    if kind == "reject":
        raise Reject("not for us")
    if kind == "kill":
        os.kill(os.getpid(), 9)


router = Router()
router.on("quick/{kind}", act, queue="quick")
