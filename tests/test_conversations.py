"""Conversations as calibration text: what the model's own chat template makes of them, and what is refused."""

import json

import pytest

from course_lib.calibrate import calibration_batches, conversations
from tests import tiny

CHAT = [{"role": "user", "content": "the mug is broken"}, {"role": "assistant", "content": "please send it back"}]
TEMPLATE = (
    "{{ bos_token }}{% for m in messages %}"
    "{% if m['role'] == 'nobody' %}{{ raise_exception('who is that') }}{% endif %}"
    "<{{ m['role'] }}>{{ m['content'] }}</>{% endfor %}"
    "{% if add_generation_prompt %}<assistant>{% endif %}"
)


def tokenizer(template=TEMPLATE):
    import copy

    tok = copy.deepcopy(tiny.tokenizer())
    tok.chat_template = template
    return tok


def write(path, *records):
    path.write_text("\n".join(record if isinstance(record, str) else json.dumps(record) for record in records))
    return path


def test_a_conversation_goes_through_the_template(tmp_path):
    path = write(tmp_path / "chats.jsonl", {"messages": CHAT, "id": 7}, "", {"text": "é ü money"})
    said = "<user>the mug is broken</><assistant>please send it back</>"
    assert conversations.read(path, tokenizer()) == [said, "é ü money"]
    tok = tokenizer()
    ids = (
        tok(said, add_special_tokens=False)["input_ids"] + [0] + tok("é ü money", add_special_tokens=False)["input_ids"]
    )
    rows = calibration_batches(tok, path, 1, 20)[0]
    assert rows.tolist() == [[0, *ids[:19]]]  # one BOS, the window's own
    assert rows.tolist() == calibration_batches(tok, [said, "é ü money"], 1, 20)[0].tolist()


@pytest.mark.parametrize(
    ("records", "said"),
    [
        (["{"], "line 1 of .* is no JSON"),
        ([{"text": "a"}, {"messages": []}], 'line 2 of .* must be a JSON object with "messages"'),
        ([{"messages": [{"role": "user", "content": [{"type": "image"}]}]}], "line 1 of .* must be"),
        ([["a"]], "line 1 of .* must be"),
        ([""], "holds no line of text"),
        ([{"text": " "}], "line 1 of .* must be"),
        (
            [{"text": "a"}, {"messages": [{"role": "nobody", "content": "a"}]}],
            "line 2 of .* chat template: who is that",
        ),
    ],
)
def test_another_file_is_refused_with_its_line(tmp_path, records, said):
    with pytest.raises(ValueError, match=said):
        calibration_batches(tokenizer(), write(tmp_path / "a.jsonl", *records), 1, 8)


def test_a_line_ends_at_a_line_feed_alone(tmp_path):
    text = "one\u2028two\x85three"
    (tmp_path / "a.jsonl").write_bytes(
        b"\xef\xbb\xbf" + json.dumps({"text": text}, ensure_ascii=False).encode() + b"\r\n"
    )
    assert conversations.read(tmp_path / "a.jsonl", tokenizer()) == [text]


def test_a_model_without_a_template_says_so(tmp_path):
    path = write(tmp_path / "a.jsonl", {"messages": CHAT})
    with pytest.raises(ValueError, match="the model's tokenizer has no chat template: give text"):
        calibration_batches(tokenizer(None), path, 1, 8)
    (tmp_path / "b.jsonl").write_bytes(b"\xff\xfe")
    with pytest.raises(ValueError, match="b.jsonl is not UTF-8 text"):
        calibration_batches(tokenizer(), tmp_path / "b.jsonl", 1, 8)
