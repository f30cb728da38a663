"""Small tokenizers of the kinds that differ at the boundary of prompt and answer."""

from __future__ import annotations

from typing import Any

from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

WORDS = [
    "the cat sat on the mat and the dog ran to the house of the king",
    "Instruction: say the word Output: yes no maybe Input: system user assistant",
    "what is the answer to the question? the answer is two. hello again and goodbye",
]
KINDS = ("bytes", "blank-in-front", "blank-behind", "blank-at-first")


def trained_tokenizer(kind: str) -> Any:
    """A transformers tokenizer of one kind; ``<unk>`` pads, so padding is not the end."""
    from transformers import PreTrainedTokenizerFast

    special = ["<unk>", "<s>", "</s>"]
    tokenizer = Tokenizer(models.BPE(unk_token=None if kind == "bytes" else "<unk>"))
    if kind == "bytes":
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        tokenizer.decoder = decoders.ByteLevel()
        alphabet = pre_tokenizers.ByteLevel.alphabet()
    elif kind == "blank-at-first":
        tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first")
        tokenizer.decoder = decoders.Metaspace(prepend_scheme="first")
        alphabet = [chr(code) for code in range(33, 127)] + ["\n", "▁"]
    else:
        replace = normalizers.Replace(" ", "▁")
        front = [normalizers.Prepend("▁")] if kind == "blank-in-front" else []
        tokenizer.normalizer = normalizers.Sequence([*front, replace])
        behaviour = "merged_with_next" if front else "merged_with_previous"
        tokenizer.pre_tokenizer = pre_tokenizers.Split("▁", behaviour)
        strip = [decoders.Strip(" ", 1, 0)] if front else []
        tokenizer.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.Fuse(), *strip])
        alphabet = [chr(code) for code in range(33, 127)] + ["\n", "▁"]
    trainer = trainers.BpeTrainer(vocab_size=420, special_tokens=special, initial_alphabet=alphabet)
    tokenizer.train_from_iterator(WORDS * 20, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", unk_token="<unk>", pad_token="<unk>"
    )
