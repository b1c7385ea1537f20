from typing import Annotated, Any

import msgspec
import pytest

from video_reclaim.conversion import Malformed, from_builtins, from_json, to_builtins


class Inner(msgspec.Struct, rename="camel"):
    how_many: Annotated[int, msgspec.Meta(ge=0)]

    def __post_init__(self):
        if self.how_many == 13:
            raise ValueError("13 is not allowed")


class Outer(msgspec.Struct, forbid_unknown_fields=True):
    inner: Inner
    parts: list[Inner] = []
    note: str | None = None


GOOD = {"inner": {"howMany": 1}}
BAD = [
    pytest.param({}, "inner", id="a-missing-field"),
    pytest.param({"inner": {}}, "inner.howMany", id="a-missing-field-of-a-field"),
    pytest.param({**GOOD, "parts": [{"howMany": 1}, {}]}, "parts[1].howMany", id="a-missing-field-in-a-list"),
    pytest.param({**GOOD, "size": 1}, "size", id="an-unknown-field"),
    pytest.param({"inner": 3}, "inner", id="a-wrong-type"),
    pytest.param({"inner": {"howMany": "1"}}, "inner.howMany", id="text-in-place-of-a-number"),
    pytest.param({"inner": {"howMany": 1.0}}, "inner.howMany", id="a-float-in-place-of-a-whole-number"),
    pytest.param({"inner": {"howMany": True}}, "inner.howMany", id="a-boolean-in-place-of-a-number"),
    pytest.param({"inner": {"howMany": -1}}, "inner.howMany", id="a-number-out-of-range"),
    pytest.param({"inner": {"howMany": 13}}, "inner", id="a-rule-of-the-record-itself"),
    pytest.param([], "", id="a-list-in-place-of-the-record"),
    pytest.param(None, "", id="null-in-place-of-the-record"),
]


@pytest.mark.parametrize(("value", "field"), BAD)
def test_what_does_not_fit_is_refused_and_names_the_field(value, field):
    with pytest.raises(Malformed) as caught:
        from_builtins(value, Outer)
    assert caught.value.field == field
    assert caught.value.problem
    assert str(caught.value).startswith(f"{field}: " if field else caught.value.problem)


@pytest.mark.parametrize(("value", "field"), BAD)
def test_json_is_read_by_the_same_rules(value, field):
    with pytest.raises(Malformed) as caught:
        from_json(msgspec.json.encode(value), Outer)
    assert caught.value.field == field


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("", id="empty"),
        pytest.param("{", id="cut-off"),
        pytest.param("hold", id="plain-text"),
        pytest.param('{"inner": {"howMany": NaN}}', id="nan"),
        pytest.param('{"inner": {"howMany": 1}} {}', id="two-values"),
    ],
)
def test_text_that_is_not_json_is_refused_as_a_whole(text):
    for given in (text, text.encode()):
        with pytest.raises(Malformed) as caught:
            from_json(given, Outer)
        assert caught.value.field == ""


@pytest.mark.parametrize("text", ["[" * 100_000, '{"a":' * 100_000], ids=["lists", "objects"])
def test_text_that_is_nested_too_deeply_is_refused(text):
    with pytest.raises(Malformed, match="nested") as caught:
        from_json(text, Any)
    assert caught.value.field == ""


@pytest.mark.parametrize("number", [12.0, "12", 12])
def test_a_lenient_conversion_accepts_numbers_in_other_forms(number):
    assert from_builtins({"inner": {"howMany": number}}, Outer, strict=False).inner.how_many == 12


@pytest.mark.parametrize("number", [12.5, "twelve", -1, None])
def test_a_lenient_conversion_still_refuses_what_is_no_number(number):
    with pytest.raises(Malformed) as caught:
        from_builtins({"inner": {"howMany": number}}, Outer, strict=False)
    assert caught.value.field == "inner.howMany"


def test_a_record_is_written_as_it_is_read():
    record = Outer(Inner(1), [Inner(2)], "note")
    written = to_builtins(record)
    assert written == {"inner": {"howMany": 1}, "parts": [{"howMany": 2}], "note": "note"}
    assert from_builtins(written, Outer) == record
    assert from_json(msgspec.json.encode(written), Outer) == record
