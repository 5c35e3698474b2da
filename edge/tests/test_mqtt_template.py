import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pms_edge.mqtt_in.messages import MalformedError, Message
from pms_edge.mqtt_in.paths import ABSENT
from pms_edge.mqtt_in.template import RefusedTemplateError, parse_template


def render(template: str, body: object):
    payload = body if isinstance(body, bytes) else json.dumps(body).encode()
    return parse_template(template)(Message("t", payload, False, 0))


@pytest.mark.parametrize(
    ("template", "body", "value"),
    [
        ("{{ value }}", b" 21.5 ", "21.5"),
        ("{{value|float}}", b"21.5", 21.5),
        ("{{ value_json.a }}", {"a": False}, False),
        ("{{ value_json.a.b }}", {"a": {"b": "x"}}, "x"),
        ("{{ value_json['a b'][1] }}", {"a b": [1, 2]}, 2),
        ('{{ value_json["SENSOR"].Power[0] }}', {"SENSOR": {"Power": [7]}}, 7),
        ("{{ value_json.a | is_defined }}", {"a": 3}, 3),
        ("{{ value_json.a | int }}", {"a": "-3.9"}, -3),
        ("{{ value_json.a | round(1) }}", {"a": 2.349}, 2.3),
        ("{{ value_json.a|round }}", {"a": 2.6}, 3),
        ("{{ value_json.a / 10 }}", {"a": 453}, 45.3),
        ("{{ value_json.a | float / 10 * 2 }}", {"a": "5"}, 1),
        ("{{ (value_json.a | float / 10) | round(1) }}", {"a": 123}, 12.3),
        ("{{- value_json.a -}}", {"a": 1}, 1),
        ("{{ value_json.a }}", {"b": 1}, ABSENT),
        ("{{ value_json.a | float / 10 }}", {"b": 1}, ABSENT),
        ("{{ value_json.a }}", [1], ABSENT),
    ],
)
def test_the_plain_part_of_the_templates_is_understood(template, body, value):
    assert render(template, body) == value


@pytest.mark.parametrize(
    "template",
    [
        "",
        "21.5",
        "{{ }}",
        "{{ value_json }} {{ value_json }}",
        "{% if value %}1{% endif %}",
        "{{ 'ON' if value_json.a > 3 else 'OFF' }}",
        "{{ value_json.a | float(0) }}",
        "{{ value_json.a | default(0) }}",
        "{{ value_json.a + 1 }}",
        "{{ value_json.a | float * 0.5 | float }}",
        "{{ value_json.a / 0 }}",
        "{{ value_json[value] }}",
        "{{ value_json.get('a') }}",
        "{{ value.__class__ }}",
        "{{ states('sensor.x') }}",
        "{{ value_json.a | round(1, 'floor') }}",
        "{{ value_json.a. }}",
        "{{ " + "(" * 40 + "value" + ")" * 40 + " }}",
        "{{ value_json." + "a" * 600 + " }}",
    ],
)
def test_everything_else_is_refused_with_its_text(template):
    with pytest.raises(RefusedTemplateError) as refused:
        parse_template(template)
    assert refused.value.text == template[:512]


def test_what_is_no_json_is_malformed():
    with pytest.raises(MalformedError):
        render("{{ value_json.a }}", b"21.5 C")


PIECES = st.sampled_from(
    ["value", "value_json", ".a", "['b']", "[0]", "|float", "|round(1)", "*2", "/10", "(", ")", " "]
)


@given(st.lists(PIECES, max_size=10), st.text(max_size=20), st.binary(max_size=40))
def test_a_template_is_refused_or_gives_a_value_or_says_malformed(pieces, text, body):
    for inner in ("".join(pieces), text):
        try:
            template = parse_template("{{" + inner + "}}")
            template(Message("t", body, False, 0))
        except (RefusedTemplateError, MalformedError):
            continue


@given(st.floats(-1e9, 1e9), st.integers(1, 1000))
def test_scaling_is_what_python_says(value, factor):
    assert render(f"{{{{ value_json.a | float / {factor} }}}}", {"a": value}) == value / factor
