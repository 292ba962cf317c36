"""Which version of MQTT is spoken, after what the broker did and did not say."""

import pytest
from paho.mqtt.packettypes import PacketTypes

from routemq.mqtt import ProtocolChoice, reason_text


def silence(choice: ProtocolChoice, times: int) -> list[str]:
    """Let so many CONNECTs go unanswered; return what each was tried with."""
    tried = []
    for _ in range(times):
        tried.append(choice.name.removeprefix("MQTT "))
        choice.unanswered()
    return tried


def test_silence_leads_to_3_1_1_and_back_and_to_neither_for_good() -> None:
    assert silence(ProtocolChoice("auto"), 9) == ["5"] * 3 + ["3.1.1"] * 3 + ["5"] * 3


def test_no_silence_leads_away_from_mqtt_5_once_it_has_worked() -> None:
    choice = ProtocolChoice("auto")
    assert choice.accepted()
    choice.ended()
    assert silence(choice, 20) == ["5"] * 20


def test_the_brokers_word_leads_to_3_1_1_at_once_until_the_connection_ends() -> None:
    choice = ProtocolChoice("auto")
    choice.accepted()
    choice.ended()
    assert choice.refused()
    assert choice.older
    assert choice.accepted()
    choice.ended()
    assert not choice.older


def test_a_broker_that_answers_3_1_1_is_asked_once_more_whether_it_answers_5() -> None:
    choice = ProtocolChoice("auto")
    silence(choice, 3)
    assert not choice.accepted()
    assert silence(choice, 1) == ["5"]
    assert choice.older
    assert choice.accepted()
    choice.ended()
    assert silence(choice, 2) == ["5", "3.1.1"]


def test_a_broker_that_was_only_slow_to_start_is_spoken_to_by_mqtt_5() -> None:
    choice = ProtocolChoice("auto")
    silence(choice, 3)
    assert not choice.accepted()
    assert choice.accepted()
    assert not choice.older


@pytest.mark.parametrize(("wanted", "spoken"), [("5", "5"), ("3.1.1", "3.1.1")])
def test_what_is_demanded_is_never_left(wanted: str, spoken: str) -> None:
    choice = ProtocolChoice(wanted)  # type: ignore[arg-type]
    assert silence(choice, 10) == [spoken] * 10
    assert not choice.refused()
    assert choice.accepted()
    choice.ended()
    assert choice.name == f"MQTT {spoken}"


def test_reason_codes_have_names_and_unknown_ones_their_number() -> None:
    assert reason_text(PacketTypes.PUBACK, 0x87) == "Not authorized"
    assert reason_text(PacketTypes.DISCONNECT, 0xC7) == "reason code 0xC7"
