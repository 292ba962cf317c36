import traceback
from pathlib import Path

import pytest

from routemq.dead_letters.fingerprint import CAUSED_BY, ErrorDescription
from routemq.dead_letters.frames import raised_by

LIBRARY = '  File "/srv/app/.venv/lib/python3.11/site-packages/httpx/_client.py", line 9, in send\n    raise X'
STANDARD = '  File "/usr/lib/python3.12/json/decoder.py", line 355, in raw_decode\n    raise JSONDecodeError(s)'
OURS = '  File "/src/tasks/routemq_tasks/execution.py", line 12, in run\n    call()'
CORE = '  File "/src/routemq/middleware.py", line 40, in call\n    call()'
NAMESAKE = '  File "/home/ana/routemq/orders.py", line 3, in pay\n    charge(order)'
USERS = '  File "/srv/app/models.py", line 7, in check\n    httpx.send(x)\n    ^^^^^^^^^^'


def test_own_frames_come_before_those_of_libraries() -> None:
    text = f'{CORE}\n{OURS}\n{NAMESAKE}\n{USERS}\n{LIBRARY}\n{STANDARD}\n  File "<frozen runpy>", line 1, in x'
    (found,) = raised_by(text)
    assert found.own == (USERS, NAMESAKE)
    assert (found.place, found.frames) == ("/srv/app/models.py, line 7, in check", 7)
    assert found.caused_by is None


def test_a_cause_has_frames_of_its_own() -> None:
    first, cause = raised_by(f"{LIBRARY}{CAUSED_BY}OSError: disk\nis full\n{USERS}")
    assert (first.own, first.place) == ((), None)
    assert (cause.caused_by, cause.own) == ("OSError: disk\nis full", (USERS,))


def test_what_python_writes_is_read() -> None:
    try:
        Path("/none/such").read_text("utf-8")
    except OSError as exc:
        kept = ErrorDescription.of(exc).traceback
    (found,) = raised_by(kept)
    assert found.place is not None
    assert found.place.startswith(f"{__file__}, line ")
    assert found.frames == kept.count('  File "') > len(found.own) == 1


@pytest.mark.parametrize(
    "text",
    ["", "\n", CAUSED_BY, "(its frames cannot be shown: OSError)", '  File "', '  File "a\0b/routemq/x", line 1, in y',
     '  File "/x/routemq/' + "y" * 5000 + '", line 1, in z', "Traceback … \ud800 <b>", '  File "", line , in '],
)  # fmt: skip
def test_a_text_of_any_form_is_passed_over(text: str) -> None:
    assert all(len(found.own) <= 1 for found in raised_by(text))


def test_a_source_line_that_looks_like_a_frame_is_no_frame_of_another_form() -> None:
    # Python indents source lines by four.
    (found,) = raised_by(USERS + '\n    File "/srv/app/other.py", line 1, in x')
    assert len(found.own) == 1
    assert traceback.__file__ not in found.own[0]


@pytest.mark.parametrize("file", ["./errors.py", "lifecycle/../errors.py", "/errors.py"])
def test_a_frame_is_judged_by_its_text_alone(file: str) -> None:
    # Where such a path leads may be what this process is not allowed to look at.
    (found,) = raised_by(f'  File "/x/routemq/{file}", line 1, in y')
    assert found.frames == len(found.own) == 1
