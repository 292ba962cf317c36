"""What Redis answers instead of doing what it is asked, in an operator's words."""

import re

import redis

LEAVE = frozenset({"READONLY", "MASTERDOWN", "LOADING", "MISCONF", "NOREPLICAS", "CLUSTERDOWN", "BUSY", "UNKILLABLE"})
"""Error codes of a server that takes no writes now; after a failover, one that is the primary no more."""

_CLUSTER = frozenset({"MOVED", "ASK", "CROSSSLOT", "TRYAGAIN", "CLUSTERDOWN"})

_WORDS = {
    "READONLY": "redis is a replica and takes no writes; REDIS_URL has to lead to the primary",
    "MASTERDOWN": "redis is a replica that has lost its primary; REDIS_URL has to lead to the primary",
    "LOADING": "redis is loading its data after a start",
    "MISCONF": "redis cannot write to its disk and takes nothing meanwhile; make room there, its log says more",
    "NOREPLICAS": "redis has fewer replicas than min-replicas-to-write asks for, and takes nothing meanwhile",
    "BUSY": "redis is busy with a script; SCRIPT KILL ends it",
    "UNKILLABLE": "redis is busy with a script",
    "OOM": "redis is full (maxmemory); workers make room as they go on, or give it more memory",
    "WRONGPASS": "redis refuses the user or password in REDIS_URL",
    "NOAUTH": "redis asks for a password, and REDIS_URL has none",
    "NOPERM": "redis does not allow this to the user in REDIS_URL; ACL SETUSER gives the permission",
    "KILLED": "somebody has ended a script of ours with SCRIPT KILL",
    "DENIED": "redis is in protected mode: it has no password and answers only to its own host",
}

_IN_PIPELINE = "of pipeline caused error: "
_ABORTED = re.compile(r"because of: ([A-Z]+) ")
_KILLED = "Script killed by user"
"""What Redis answers so under the code ERR is said of no message: the next time it runs."""

_NOT_IN_SCRIPT = "The user executing the script can't"
"""Likewise under ERR; which command it is, Redis does not say."""

_CERTIFICATE = re.compile(r"certificate verify failed: (.*?)\.? *\(_ssl")


class RefusedError(redis.ConnectionError):
    """The server takes no commands now. The connection is closed: the next one goes where the address leads by then."""


def code_of(error: BaseException) -> str:
    """Return the code that Redis' answer begins with, such as `READONLY`; empty when there was no answer."""
    text = said(error)
    if _KILLED in text:
        return "KILLED"
    if text.startswith(_NOT_IN_SCRIPT):
        return "NOPERM"
    aborted = _ABORTED.search(text)
    if aborted is not None:
        return aborted[1]
    first = text.partition(" ")[0]
    if first.isalpha() and first.isupper():
        return first
    return getattr(error, "status_code", None) or ""


def is_silence(error: BaseException) -> bool:
    """Return whether Redis has given no answer, not even a refusal: that it is away, others tell of."""
    return isinstance(error, redis.RedisError) and not isinstance(error, redis.ResponseError) and not code_of(error)


def said(error: BaseException) -> str:
    """Return the server's words; what redis-py puts before them names the command, and with it payloads."""
    return str(error).rpartition(_IN_PIPELINE)[2]


def explain(error: BaseException) -> str:
    """Return in one line what is the matter with Redis, and what to do about it."""
    code, text = code_of(error), " ".join(said(error).split())
    if code in _CLUSTER:
        return f"redis is a Redis Cluster, which is not supported; REDIS_URL has to lead to a single primary ({code})"
    if isinstance(error, redis.AuthenticationError) and code not in _WORDS:
        code = "WRONGPASS"
    if code in _WORDS:
        return f"{_WORDS[code]} ({text})" if code == "NOPERM" else f"{_WORDS[code]} ({code})"
    if "SSL:" in text:
        return _explain_tls(text)
    if isinstance(error, redis.TimeoutError):
        return f"redis does not answer: {text}"
    is_away = isinstance(error, (redis.ConnectionError, OSError))
    return f"redis is away: {text}" if is_away else f"redis refuses: {text}"


def _explain_tls(text: str) -> str:
    untrusted = _CERTIFICATE.search(text)
    if untrusted is not None:
        return f"the certificate of redis is not trusted: {untrusted[1]}"
    if "WRONG_VERSION_NUMBER" in text or "RECORD_LAYER_FAILURE" in text:
        return "redis does not speak TLS at this address; without TLS, REDIS_URL begins with redis://"
    return f"no TLS connection to redis: {text}"
