import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from routemq.mark import MEMBER, Mark

counts = st.integers(0, 2**31)
marks = st.builds(
    Mark, deliveries=counts, strikes=counts, unknown_since=st.none() | st.integers(1_700_000_000, 2_000_000_000)
)
ITEM = b'{"body": "", "routemq": 1, "x": "{\\"routemq\\":[1,1],"}'


@given(marks)
def test_a_mark_is_read_as_it_was_written_and_changes_no_other_byte(mark: Mark) -> None:
    marked = mark.on(ITEM)
    assert Mark.split(marked) == (mark, b'{"body"' + ITEM[7:])
    assert marked.endswith(ITEM[1:])
    if mark != Mark():
        assert marked.startswith(b'{"routemq":[')
        read = json.loads(marked.replace(b'"routemq": 1, ', b""))
        assert Mark.of(read[MEMBER]) == mark


@pytest.mark.parametrize("kombus", [b'{"routemq": [3, 1], "body": ""}', b'{"routemq":[3,1,1800000000,7],"body": ""}'])
def test_what_kombu_or_a_later_release_wrote_is_read(kombus: bytes) -> None:
    mark, rest = Mark.split(kombus)
    assert (mark.deliveries, mark.strikes) == (3, 1)
    assert json.loads(rest) == {"body": ""}
    assert Mark.of(json.loads(kombus)[MEMBER]) == mark


@pytest.mark.parametrize("member", [[], [1], [1, -1], [1, 1.5], [True, 1], "11", {"0": 1}, 7, [2**41, 0]])
def test_what_is_no_mark_is_refused(member: object) -> None:
    with pytest.raises(ValueError, match="its mark is"):
        Mark.of(member)


@pytest.mark.parametrize("item", [b"", b"[]", b"{}", b"null", b"\xff"])
def test_what_has_no_members_takes_no_mark(item: bytes) -> None:
    assert Mark(deliveries=1).on(item) == item
    with pytest.raises(ValueError, match="no JSON object"):
        Mark.split(item)
