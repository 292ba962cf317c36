from routemq.pauses import Pauses, Reminders


def test_complaints_that_come_and_go_side_by_side_are_told_once_each() -> None:
    reminders = Reminders(remind_s=3600)
    assert [reminders.speak(complaint) for complaint in ("full", "away", "full", "away")] == [True, True, False, False]


def test_a_complaint_is_told_again_after_a_while_and_is_not_remembered_for_ever() -> None:
    reminders = Reminders(remind_s=0)
    assert all(reminders.speak(f"no room for {number}") for number in range(3))
    assert reminders.speak("no room for 2")


def test_each_change_of_the_cause_is_told() -> None:
    pauses = Pauses()
    assert [pauses.speak(cause) for cause in ("away", "refused", "refused", "away")] == [True, True, False, True]
