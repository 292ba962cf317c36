import pytest
from hypothesis import given
from hypothesis import strategies as st
from routemq_tasks.errors import TimedOutError

from routemq.text import error_line, error_text, plural, printable

ACTING = {*map(chr, range(32)), *map(chr, range(0x7F, 0xA0)), *"\u061c\u200e\u200f\u2028\u2029\ufeff"} | {
    *map(chr, range(0x202A, 0x202F)),
    *map(chr, range(0x2066, 0x206A)),
}

any_text = st.text(st.characters(exclude_categories=()))


@given(any_text)
def test_nothing_of_a_stranger_acts_on_who_reads_it(text: str) -> None:
    shown = printable(text)
    assert not ACTING & set(shown)
    shown.encode()
    assert len(shown.splitlines()) <= 1
    assert printable(shown) == shown
    assert printable(text, lines=True).replace("\n", "").replace("\t", "") == printable(
        text.replace("\n", "").replace("\t", "")
    )


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("21.5 °C — größer 温度 \u3000🙂", "21.5 °C — größer 温度 \u3000🙂"),
        ("\x1b[2J\x9b0m", "\\x1b[2J\\x9b0m"),
        ("admin\u202etxt.exe", "admin\\u202etxt.exe"),
        ("half \ud800", "half \\ud800"),
        ("a\r\n\u2028b", "a\\r\\n\\u2028b"),
    ],
)
def test_what_is_read_stays_and_what_acts_is_written_out(text: str, shown: str) -> None:
    assert printable(text) == shown


class MuteError(Exception):
    def __str__(self) -> str:
        raise RuntimeError


class LeavingError(Exception):
    def __str__(self) -> str:
        raise SystemExit


class LoudText(str):
    __slots__ = ()

    def split(self, *_args: object) -> list[str]:  # type: ignore[override]
        raise RuntimeError

    __format__ = encode = isprintable = splitlines = split  # type: ignore[assignment]


def test_an_error_is_told_in_one_short_line() -> None:
    assert error_line(ValueError("one\n  two")) == "ValueError: one two"
    assert error_line(KeyboardInterrupt()) == "KeyboardInterrupt"
    assert error_line(MuteError()) == "MuteError: (its text cannot be made: RuntimeError)"
    assert error_line(LeavingError()) == "LeavingError: (its text cannot be made: SystemExit)"
    assert error_line(ValueError("\x1b]0;title\x07 \udfff")) == "ValueError: \\x1b]0;title\\x07 \\udfff"
    assert len(error_line(ValueError("x" * 10_000))) == 500
    assert "took longer than 1.5 s" in error_line(TimedOutError(1.5))
    assert "killed" in error_line(TimedOutError(1.5, killed=True))


def test_a_text_with_methods_of_its_own_is_no_more_than_text() -> None:
    class OddError(Exception):
        def __str__(self) -> str:
            return LoudText("odd")

    assert type(error_text(OddError())) is str
    assert error_line(OddError()) == "OddError: odd"


def test_an_error_of_any_size_is_told_by_its_beginning() -> None:
    assert error_line(ValueError("a\x1b\n" * 2_000_000)).startswith("ValueError: a\\x1b a\\x1b a")


def test_a_number_of_things_is_told_as_one_says_it() -> None:
    assert [plural(count, "letter") for count in (0, 1, 2, 1200)] == [
        "0 letters",
        "1 letter",
        "2 letters",
        "1,200 letters",
    ]
    assert [plural(count, "was", "were") for count in (1, 2)] == ["1 was", "2 were"]
