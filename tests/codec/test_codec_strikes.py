"""When a codec is taken out of service, and when it is tried again."""

from codec.strikes import FIRST_PAUSE_S, LONGEST_PAUSE_S, STRIKES, StrikeList


def struck_out(strikes: StrikeList, codec: str = "a", now_s: float = 0.0) -> None:
    for _ in range(STRIKES):
        strikes.struck(codec, "interrupted", now_s)


def test_limits_in_a_row_disable_a_codec_and_only_that_one() -> None:
    strikes = StrikeList()
    changes = [strikes.struck("a", "interrupted", 7.0) for _ in range(STRIKES)]
    assert changes[:-1] == [None] * (STRIKES - 1)
    last = changes[-1]
    assert last is not None
    assert (last.codec, last.disabled, last.message, last.pause_s) == ("a", True, "interrupted", FIRST_PAUSE_S)
    assert not strikes.admits("a", 8.0)
    assert strikes.admits("b", 8.0)
    assert strikes.disabled == ["a"]


def test_a_frame_that_passes_between_them_starts_the_count_afresh() -> None:
    strikes = StrikeList()
    for _ in range(3 * STRIKES):
        for _ in range(STRIKES - 1):
            assert strikes.struck("a", "interrupted", 0.0) is None
        assert strikes.passed("a") is None
    assert strikes.admits("a", 0.0)


def test_after_the_pause_one_frame_is_tried_and_the_others_wait_for_it() -> None:
    strikes = StrikeList()
    struck_out(strikes)
    assert [strikes.admits("a", FIRST_PAUSE_S) for _ in range(3)] == [True, False, False]
    back = strikes.passed("a")
    assert back is not None
    assert not back.disabled
    assert strikes.admits("a", FIRST_PAUSE_S)
    assert strikes.disabled == []


def test_a_failed_trial_doubles_the_pause_up_to_the_longest() -> None:
    strikes, now_s, pause_s = StrikeList(), 0.0, FIRST_PAUSE_S
    struck_out(strikes)
    for _ in range(12):
        assert not strikes.admits("a", now_s + pause_s - 1)
        now_s += pause_s
        assert strikes.admits("a", now_s)
        assert strikes.struck("a", "interrupted", now_s) is None
        pause_s = min(2 * pause_s, LONGEST_PAUSE_S)
    assert pause_s == LONGEST_PAUSE_S


def test_frames_that_were_under_way_do_not_lengthen_the_pause() -> None:
    strikes = StrikeList()
    struck_out(strikes)
    struck_out(strikes)
    assert strikes.admits("a", FIRST_PAUSE_S)


def test_another_version_of_the_codec_has_no_strikes() -> None:
    strikes = StrikeList()
    struck_out(strikes, "dragino/x@1111")
    assert strikes.admits("dragino/x@2222", 0.0)
