"""What verbs with keys of one value and flags say of what they cannot read."""

from __future__ import annotations

import pytest

from bot.errors import InputError
from commands import locks


def test_words_that_are_not_understood_hide_no_slip_of_a_key() -> None:
    with pytest.raises(InputError) as refused:
        locks.parse("now tenat=shop please")
    assert refused.value.sentence == ("“now” and “please” are not understood here. “tenat” was read as tenant.")
    assert refused.value.spot == "now"
