"""What is trained: answers and their ends, cut where generation starts.

The oracle never uses the encoder's own spans: it decodes the trained runs and compares them with the rows' answers, or
asks transformers' ``apply_chat_template`` for its mask.
"""

from __future__ import annotations

import pickle
from itertools import groupby
from pathlib import Path
from typing import Any

import pytest
from small_tokenizers import trained_tokenizer

from tunesmith.contracts.data import Encoding, Message, Record, TrainOn
from tunesmith.data.chat import TRIED, ChatEncoder
from tunesmith.data.formats.base import BadRow
from tunesmith.data.formats.prompt_completion import read as read_pair
from tunesmith.errors import UserError

TURNS = (
    Message("system", "be the dog"),
    Message("user", "what is the word?"),
    Message("assistant", "the cat"),
    Message("user", "again"),
    Message("assistant", "goodbye and hello"),
)
RECORD = Record(messages=TURNS)
UNMARKED = (
    "{% for m in messages %}<|{{ m['role'] }}|>{{ m['content'] }}{% if m['role'] == 'assistant' %}{{ eos_token }}"
    "{% endif %}\n{% endfor %}{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
THINKING = (
    "{% for m in messages %}<|{{ m['role'] }}|>"
    "{% if m['role'] == 'assistant' and not loop.last %}{{ m['content'].split('</think>')[-1] }}"
    "{% else %}{{ m['content'] }}{% endif %}{% if m['role'] == 'assistant' %}{{ eos_token }}{% endif %}\n"
    "{% endfor %}{% if add_generation_prompt %}<|assistant|>{% endif %}"
)


def from_jinja(tokenizer: Any, folder: Path, source: str) -> ChatEncoder:
    path = folder / "template.jinja"
    path.write_text(source)
    return ChatEncoder.build(tokenizer, str(path))


def trained_runs(encoder: ChatEncoder, encoding: Encoding) -> list[str]:
    pairs = zip(encoding.ids, encoding.trained, strict=True)
    groups = groupby(pairs, key=lambda pair: pair[1])
    return [encoder.decode([number for number, _ in group], special=True).strip() for flag, group in groups if flag]


@pytest.mark.parametrize("template", ["plain", "llama-2", "chatml"])
def test_trained_runs_are_the_answers_and_their_ends(tokenizer: Any, template: str) -> None:
    encoder = ChatEncoder.build(tokenizer, template)
    (encoding,) = encoder.conversation(RECORD, "answers")
    runs = [run.replace(" </s>", "</s>") for run in trained_runs(encoder, encoding)]
    assert runs == ["the cat</s>", "goodbye and hello</s>"]
    (last,) = encoder.conversation(RECORD, "last-answer")
    assert last.ids == encoding.ids
    assert len(trained_runs(encoder, last)) == 1
    (everything,) = encoder.conversation(RECORD, "everything")
    assert everything.trained == [False] + [True] * (len(everything.ids) - 1)


@pytest.mark.parametrize("template", ["plain", "llama-2", "chatml"])
def test_prompt_ids_are_a_prefix_of_the_trained_ids(tokenizer: Any, template: str) -> None:
    encoder = ChatEncoder.build(tokenizer, template)
    (encoding,) = encoder.conversation(RECORD, "answers")
    for turn in (2, 4):
        prompt = encoder.prompt_ids(TURNS[:turn])
        assert encoding.ids[: len(prompt)] == prompt
        assert encoding.trained[len(prompt) - 1 : len(prompt) + 1] == [False, True]


@pytest.mark.parametrize("template", ["plain", "llama-2", "chatml"])
def test_own_templates_cut_where_the_tokenizer_itself_cuts(tokenizer: Any, template: str) -> None:
    """The text tokenised whole gives the same ids: no token of the base model's habits is broken by the cut."""
    encoder = ChatEncoder.build(tokenizer, template)
    assert encoder.renderer is not None
    (encoding,) = encoder.conversation(RECORD, "answers")
    text = encoder.renderer.render([one.as_dict() for one in TURNS]).text
    assert "  " not in text  # the blank before an answer is in the prompt or in the answer, never in both
    whole = tokenizer(text, add_special_tokens=False)["input_ids"]
    assert whole[: len(encoding.ids)] == encoding.ids


@pytest.mark.parametrize("model", ["stories260k-hf", "tinystories-656k-hf"])
@pytest.mark.parametrize("prompt", ["Intent: ", "Intent:"])
def test_the_blank_trap_on_real_models(real_data: Path, model: str, prompt: str) -> None:
    """Joined rows: the ids generation starts from are a prefix of the trained ids, blank or not."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(real_data / "models" / model)
    encoder = ChatEncoder.build(tokenizer)
    record = read_pair({"prompt": prompt, "completion": "card arrival" if prompt.endswith(" ") else " card arrival"})
    (encoding,) = encoder.conversation(record, "answers")
    asked = encoder.prompt(record)
    assert asked is not None
    alone = tokenizer(prompt)["input_ids"]
    assert asked.ids == alone == encoding.ids[: len(alone)]
    assert encoding.trained == [False] * len(alone) + [True] * (len(encoding.ids) - len(alone))
    assert encoder.decode(encoding.ids).strip() == "Intent: card arrival"
    warned = prompt.endswith(" ") and model == "stories260k-hf"
    assert ("blank" in encoding.note) == warned


@pytest.mark.parametrize("model", ["stories260k-hf", "tinystories-656k-hf"])
@pytest.mark.parametrize("template", ["plain", "llama-2", "chatml"])
def test_boundaries_on_real_rows_and_models(real_data: Path, model: str, template: str) -> None:
    import json

    from transformers import AutoTokenizer

    from tunesmith.data.formats.alpaca import read

    tokenizer = AutoTokenizer.from_pretrained(real_data / "models" / model)
    encoder = ChatEncoder.build(tokenizer, template)
    assert encoder.renderer is not None
    for row in json.loads((real_data / "sft/alpaca_en_demo.json").read_text())[:60]:
        record = read(row)
        assert record.messages is not None
        (encoding,) = encoder.conversation(record, "answers")
        prompt = encoder.prompt_ids(record.messages[:-1])
        assert encoding.ids[: len(prompt)] == prompt
        assert encoding.ids[-1] == tokenizer.eos_token_id
        assert encoding.trained[-1]
        # tokenised whole, the rendered prompt alone gives the ids generation starts from in any engine
        text = encoder.render_prompt(record.messages[:-1])
        assert tokenizer(text, add_special_tokens=False)["input_ids"] == prompt


def test_the_mask_agrees_with_transformers(bytes_tokenizer: Any) -> None:
    encoder = ChatEncoder.build(bytes_tokenizer, "chatml")
    (encoding,) = encoder.conversation(RECORD, "answers")
    theirs = bytes_tokenizer.apply_chat_template(
        [one.as_dict() for one in TURNS],
        chat_template=encoder.template,
        tokenize=True,
        return_dict=True,
        return_assistant_tokens_mask=True,
    )
    length = len(encoding.ids)  # what follows the last answer is left out
    assert theirs["input_ids"][:length] == encoding.ids
    assert [bool(flag) for flag in theirs["assistant_masks"][:length]] == encoding.trained
    assert not any(theirs["assistant_masks"][length:])


def test_the_end_is_trained_when_it_is_the_padding_token(bytes_tokenizer: Any) -> None:
    import copy

    tokenizer = copy.deepcopy(bytes_tokenizer)
    tokenizer.pad_token = tokenizer.eos_token
    encoder = ChatEncoder.build(tokenizer, "plain")
    (encoding,) = encoder.conversation(RECORD, "answers")
    ends = [at for at, number in enumerate(encoding.ids) if number == tokenizer.pad_token_id]
    assert len(ends) == 2
    assert all(encoding.trained[at] for at in ends)
    assert encoder.stop_ids() == {tokenizer.eos_token_id}


def test_a_template_without_marks_gives_the_same_targets(tokenizer: Any, tmp_path: Path) -> None:
    marked = UNMARKED.replace(
        "{{ m['content'] }}{% if m['role'] == 'assistant' %}{{ eos_token }}{% endif %}",
        "{% if m['role'] == 'assistant' %}{% generation %}{{ m['content'] }}{{ eos_token }}{% endgeneration %}"
        "{% else %}{{ m['content'] }}{% endif %}",
    )
    derived = from_jinja(tokenizer, tmp_path, UNMARKED).conversation(RECORD, "answers")
    assert derived == from_jinja(tokenizer, tmp_path, marked).conversation(RECORD, "answers")
    encoder = from_jinja(tokenizer, tmp_path, UNMARKED)
    assert trained_runs(encoder, derived[0]) == ["the cat</s>", "goodbye and hello</s>"]


def test_an_end_outside_the_generation_mark_is_trained_all_the_same(bytes_tokenizer: Any, tmp_path: Path) -> None:
    outside = (
        "{% for m in messages %}<|{{ m['role'] }}|>{% if m['role'] == 'assistant' %}"
        "{% generation %}{{ m['content'] }}{% endgeneration %}{{ eos_token }}"
        "{% else %}{{ m['content'] }}{% endif %}{% endfor %}{% if add_generation_prompt %}<|assistant|>{% endif %}"
    )
    encoder = from_jinja(bytes_tokenizer, tmp_path, outside)
    assert trained_runs(encoder, encoder.conversation(RECORD, "answers")[0])[0] == "the cat</s>"


def test_a_template_that_strips_thinking_gives_one_example_a_turn(bytes_tokenizer: Any, tmp_path: Path) -> None:
    encoder = from_jinja(bytes_tokenizer, tmp_path, THINKING)
    turns = (
        Message("user", "what?"),
        Message("assistant", "<think>the dog</think>yes"),
        Message("user", "again"),
        Message("assistant", "<think>the cat</think>no"),
    )
    first, second = encoder.conversation(Record(messages=turns), "answers")
    assert first.note == "expanded turn 1 of 2"
    assert trained_runs(encoder, first) == ["<think>the dog</think>yes</s>"]
    assert trained_runs(encoder, second) == ["<think>the cat</think>no</s>"]
    for encoding, turn in ((first, 1), (second, 3)):
        prompt = encoder.prompt_ids(turns[:turn])
        assert encoding.ids[: len(prompt)] == prompt
    (last,) = encoder.conversation(Record(messages=turns), "last-answer")
    assert last.ids == second.ids
    assert last.trained == second.trained


def test_rows_the_template_cannot_show_are_refused(bytes_tokenizer: Any, tmp_path: Path) -> None:
    forgetful = UNMARKED.replace("{{ m['content'] }}", "{{ m['content'][:3] }}")
    with pytest.raises(BadRow, match="leaves out the end of an answer"):
        from_jinja(bytes_tokenizer, tmp_path, forgetful).conversation(RECORD, "answers")
    opened = UNMARKED.replace("<|assistant|>{% endif %}", "<|assistant|><think>{% endif %}")
    with pytest.raises(BadRow, match="another text"):
        from_jinja(bytes_tokenizer, tmp_path, opened).conversation(RECORD, "answers")
    call = {"type": "function", "function": {"name": "weather", "arguments": {"city": "Oslo"}}}
    asked = Record(messages=(Message("user", "rain?"), Message("assistant", "", {"tool_calls": [call]})))
    with pytest.raises(BadRow, match="tool call"):
        from_jinja(bytes_tokenizer, tmp_path, UNMARKED).conversation(asked, "answers")
    with pytest.raises(BadRow, match="has no tools"):
        ChatEncoder.build(bytes_tokenizer, "plain").conversation(asked, "answers")
    twice = Record(messages=(Message("user", "a"), Message("user", "b"), Message("assistant", "c")))
    with pytest.raises(BadRow, match="in turn"):
        ChatEncoder.build(bytes_tokenizer, "llama-2").conversation(twice, "answers")


def test_tools_and_calls_are_shown_and_calls_trained(bytes_tokenizer: Any) -> None:
    encoder = ChatEncoder.build(bytes_tokenizer, "chatml")
    call = {"type": "function", "function": {"name": "weather", "arguments": {"city": "Oslo"}}}
    tools = ({"type": "function", "function": {"name": "weather"}},)
    turns = (Message("user", "rain?"), Message("assistant", "", {"tool_calls": [call]}))
    record = Record(messages=turns, tools=tools)
    (encoding,) = encoder.conversation(record, "answers")
    expected = '<tool_call>\n{"name": "weather", "arguments": {"city": "Oslo"}}\n</tool_call></s>'
    assert trained_runs(encoder, encoding) == [expected]
    prompt = encoder.prompt_ids(turns[:1], tools)
    assert encoding.ids[: len(prompt)] == prompt
    assert '"name": "weather"' in encoder.render_prompt(turns[:1], tools)


def test_the_default_system_prompt_is_for_rows_without_one(bytes_tokenizer: Any) -> None:
    encoder = ChatEncoder.build(bytes_tokenizer, "chatml", system="be the king")
    assert "be the king" in encoder.render_prompt(TURNS[1:2])
    assert "be the king" not in encoder.render_prompt(TURNS[:2])


def test_a_base_model_without_a_template_is_refused_with_the_choices(bytes_tokenizer: Any) -> None:
    encoder = ChatEncoder.build(bytes_tokenizer)
    with pytest.raises(UserError, match="plain") as raised:
        encoder.conversation(RECORD, "answers")
    assert raised.value.code == "no-chat-template"
    with pytest.raises(UserError, match="Did you mean 'chatml'"):
        ChatEncoder.build(bytes_tokenizer, "chatlm")


def test_markers_are_spelled_unless_new_tokens_are_asked_for() -> None:
    tokenizer = trained_tokenizer("bytes")
    spelled = ChatEncoder.build(tokenizer, "chatml")
    assert spelled.added_tokens == ()
    added = ChatEncoder.build(tokenizer, "chatml", new_tokens=True)
    assert added.added_tokens == ("<|im_start|>", "<|im_end|>")
    end = tokenizer.convert_tokens_to_ids("<|im_end|>")
    assert end in added.stop_ids()
    (encoding,) = added.conversation(RECORD, "answers")
    assert encoding.ids[-1] == end
    assert encoding.trained[-1]
    assert len(encoding.ids) < len(spelled.conversation(RECORD, "answers")[0].ids)


def test_a_recipe_that_names_a_template_gets_it_for_pairs_too(bytes_tokenizer: Any) -> None:
    record = read_pair({"prompt": "say yes", "completion": "yes"})
    joined = ChatEncoder.build(bytes_tokenizer)
    assert joined.decode(joined.conversation(record, "answers")[0].ids) == "say yesyes"
    shown = ChatEncoder.build(bytes_tokenizer, "plain")
    assert shown.decode(shown.conversation(record, "answers")[0].ids) == "Instruction: say yes\nOutput: yes"


def test_plain_text_is_tokenised_as_the_base_model_saw_it(tokenizer: Any) -> None:
    encoder = ChatEncoder.build(tokenizer)
    (encoding,) = encoder.text("the cat sat on the mat")
    assert encoding.ids == [*tokenizer("the cat sat on the mat")["input_ids"], tokenizer.eos_token_id]
    prompt = encoder.prompt_ids([Message("user", "the answer is")], raw=True)
    assert prompt == tokenizer("the answer is")["input_ids"]


def test_text_is_split_so_that_every_token_is_predicted_once(plain_encoder: ChatEncoder) -> None:
    (whole,) = plain_encoder.text("the cat sat on the mat " * 20)
    pieces = plain_encoder.text("the cat sat on the mat " * 20, max_tokens=16)
    assert all(len(piece.ids) <= 16 for piece in pieces)
    targets = [n for piece in pieces for n, flag in zip(piece.ids, piece.trained, strict=True) if flag]
    assert targets == whole.ids[1:]
    assert pieces[1].ids[0] == pieces[0].ids[-1]
    assert whole.ids[-1] in plain_encoder.stop_ids()


def test_marked_text_trains_what_follows_the_marker(plain_encoder: ChatEncoder) -> None:
    encoding = plain_encoder.marked("the cat ### the dog ### goodbye", "###")
    assert encoding is not None
    assert trained_runs(plain_encoder, encoding) == ["goodbye</s>"]
    assert plain_encoder.marked("the cat", "###") is None


def test_lost_characters_are_found(tokenizer: Any) -> None:
    encoder = ChatEncoder.build(tokenizer, "plain")
    lossless = encoder.tokens.blank_in_front and encoder.tokens.number("Ġthe") is not None
    assert encoder.tokens.lost("the cat: é 中") == ([] if lossless else ["é", "中"])


def test_an_encoder_survives_pickling(plain_encoder: ChatEncoder) -> None:
    twin = pickle.loads(pickle.dumps(plain_encoder))
    assert twin.conversation(RECORD, "answers") == plain_encoder.conversation(RECORD, "answers")
    assert twin.fingerprint() == plain_encoder.fingerprint()


@pytest.mark.parametrize("train_on", ["answers", "last-answer", "everything"])
def test_reading_ahead_changes_nothing(tokenizer: Any, tmp_path: Path, train_on: TrainOn) -> None:
    """Many rows at once give the ids of one at a time, with rows in between that are refused or rewritten."""
    refused = Record(messages=(Message("user", "a"), Message("user", "b"), Message("assistant", "c")))
    thought = Record(messages=(*TURNS[:2], Message("assistant", "<think>x</think>yes"), *TURNS[3:]))
    short = Record(messages=TURNS[1:3])
    records = [RECORD, refused, thought, Record(text="plain"), short, RECORD]
    for encoder in (
        ChatEncoder.build(tokenizer, "llama-2"),
        ChatEncoder.build(tokenizer, "chatml", system="</s>be"),
        from_jinja(tokenizer, tmp_path, THINKING),
    ):

        def encoded(record: Record, encoder: ChatEncoder = encoder) -> list[Encoding] | str:
            try:
                return encoder.conversation(record, train_on)
            except BadRow as bad:
                return str(bad)

        alone = [encoded(record) for record in records]
        encoder.read_ahead(records)
        assert [encoded(record) for record in records] == alone
        assert [encoded(record) for record in records] == alone  # what was read ahead is used once
        assert sum(isinstance(one, str) for one in alone) in (1, 2)


def test_marks_are_believed_only_where_prompts_end_there(bytes_tokenizer: Any, tmp_path: Path) -> None:
    """A template that puts a word into the mark which generation starts behind, for every row or for some."""
    inside = (
        "{% for m in messages %}<|{{ m['role'] }}|>{% if m['role'] == 'assistant' %}{% if WHEN %}"
        "{% generation %}so {{ m['content'] }}{{ eos_token }}{% endgeneration %}"
        "{% else %}so {% generation %}{{ m['content'] }}{{ eos_token }}{% endgeneration %}{% endif %}"
        "{% else %}{{ m['content'] }}{% endif %}{% endfor %}"
        "{% if add_generation_prompt %}<|assistant|>so {% endif %}"
    )
    records = [
        Record(messages=(Message("user", f"the word {number}"), Message("assistant", f"answer {number}")))
        for number in range(2 * TRIED)
    ]
    for when in ("true", "false", "'word 7' in messages[0]['content']"):
        encoder = from_jinja(bytes_tokenizer, tmp_path, inside.replace("WHEN", when))
        alone = [encoder.conversation(record, "answers") for record in records]
        rendered: list[bool] = []
        render = encoder.renderer.render  # type: ignore[union-attr]

        def counted(*given: Any, add_generation_prompt: bool = False, seen: Any = rendered, of: Any = render) -> Any:
            seen.append(add_generation_prompt)
            return of(*given, add_generation_prompt=add_generation_prompt)

        encoder.renderer.render = counted  # type: ignore[method-assign, union-attr]
        encoder.read_ahead(records)
        assert sum(rendered) == (TRIED if when == "false" else 2 * TRIED)
        assert [encoder.conversation(record, "answers") for record in records] == alone
