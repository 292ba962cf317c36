"""Every answer of Redis has words for an operator, and those of a server that is not the primary end a connection."""

import pytest
import redis
from redis.exceptions import ResponseError

from routemq.refusals import LEAVE, code_of, explain

NOT_THE_PRIMARY = {
    "READONLY You can't write against a read only replica.": "redis is a replica",
    "READONLY You can't write against a read only replica. script: 11ff, on @user_script:1.": "redis is a replica",
    "EXECABORT Transaction discarded because of: READONLY You can't write.": "redis is a replica",
    "MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.": "has lost its primary",
    "LOADING Redis is loading the dataset in memory": "redis is loading",
    "MISCONF Redis is configured to save RDB snapshots, but is unable to persist to disk.": "cannot write to its disk",
    "NOREPLICAS Not enough good replicas to write.": "fewer replicas",
    "BUSY Redis is busy running a script. You can only call SCRIPT KILL or SHUTDOWN NOSAVE.": "busy with a script",
    "CLUSTERDOWN Hash slot not served": "Redis Cluster, which is not supported",
}
OTHERS = {
    "OOM command not allowed when used memory > 'maxmemory'.": "redis is full",
    "WRONGPASS invalid username-password pair or user is disabled.": "redis refuses the user or password",
    "ERR invalid password": "redis refuses the user or password",
    "ERR Error running script: Script killed by user with SCRIPT KILL... script: 1, on @user_script:1.": "SCRIPT KILL",
    "NOAUTH Authentication required.": "asks for a password",
    "NOPERM User alice has no permissions to run the 'ping' command": "run the 'ping' command",
    "ERR The user executing the script can't run this command or subcommand script: 46.": "ACL SETUSER",
    "MOVED 3999 127.0.0.1:6381": "Redis Cluster, which is not supported",
    "CROSSSLOT Keys in request don't hash to the same slot": "Redis Cluster, which is not supported",
    "WRONGTYPE Operation against a key holding the wrong kind of value": "redis refuses: WRONGTYPE Operation against",
    "ERR max number of clients reached": "redis is away: max number of clients reached",
}


@pytest.mark.parametrize("answer", [*NOT_THE_PRIMARY, *OTHERS], ids=lambda answer: " ".join(answer.split()[:3]))
def test_every_answer_is_told_in_words(answer: str) -> None:
    error = _error(answer)
    assert (NOT_THE_PRIMARY | OTHERS)[answer] in explain(error)
    assert (code_of(error) in LEAVE) == (answer in NOT_THE_PRIMARY)


@pytest.mark.parametrize("answer", ["MISCONF no disk", "WRONGTYPE no list", "NOPERM no", "OOM full"])
def test_what_a_command_carried_is_not_told(answer: str) -> None:
    error = _error(answer)
    plain = explain(error)
    pipe = redis.Redis().pipeline()
    pipe.annotate_exception(error, 1, ("LPUSH", "queue", "secret-payload READONLY x"))
    assert "secret-payload" in str(error)
    assert explain(error) == plain


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (redis.TimeoutError("Timeout reading from h:1"), "redis does not answer: Timeout reading from h:1"),
        (redis.ConnectionError("Error 111 connecting to h:1. Connection refused."), "redis is away: Error 111"),
        (OSError("no route"), "redis is away: no route"),
        (
            redis.ConnectionError(
                "Error 1 connecting to h:1. [SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed: "
                "IP address mismatch, certificate is not valid for '127.0.0.2'. (_ssl.c:1006)."
            ),
            "the certificate of redis is not trusted: IP address mismatch, certificate is not valid for '127.0.0.2'",
        ),
        (redis.ConnectionError("[SSL: WRONG_VERSION_NUMBER] wrong version number (_ssl.c:1)."), "does not speak TLS"),
    ],
)
def test_what_is_no_answer_is_told_in_words(error: Exception, words: str) -> None:
    assert words in explain(error)
    assert code_of(error) == ""


def _error(answer: str) -> Exception:
    """Make the exception that redis-py makes of an answer."""
    from redis._parsers.base import BaseParser  # the only place where redis-py makes them

    error = BaseParser.parse_error(answer)
    assert isinstance(error, ResponseError | redis.ConnectionError)
    return error
