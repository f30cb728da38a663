"""Tiny random classifiers of the families, and a BERT base on disk with a word tokenizer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from families import configs
from tunesmith.contracts.objective import TaskHead

WORDS = ["the", "red", "blue", "green", "cat", "dog", "and", "number", "which", "colour", "?", ".", "is", "very"]
AUTO = {"tokens": "AutoModelForTokenClassification", "span": "AutoModelForQuestionAnswering"}


def tiny_task(family: str, task: TaskHead, *, seed: int = 0) -> Any:
    """A random model of ``family`` with the output layer of ``task``, float32, eval mode, no dropout."""
    import torch
    import transformers

    config = configs()[family]
    for name in list(vars(config)):
        if "dropout" in name or name.endswith("pdrop"):
            setattr(config, name, 0.0)
    config.classifier_dropout = 0.0
    config.num_labels = len(task.labels)
    config.pad_token_id = 0
    config.problem_type = {"classes": "multi_label_classification", "number": "regression"}.get(
        task.problem, "single_label_classification"
    )
    torch.manual_seed(seed)
    auto = getattr(transformers, AUTO.get(task.problem, "AutoModelForSequenceClassification"))
    model = auto.from_config(config).float().eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim == 1:
                parameter.add_(torch.randn_like(parameter) * 0.1)
    return model


def bert_tokenizer() -> Any:
    """Words and a few letters behind BERT's special tokens: [PAD] 0, [UNK] 1, [CLS] 2, [SEP] 3."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    pieces = [*"abcdefghijklmnopqrstuvwxyz0123456789"]
    names = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *WORDS, *pieces, *(f"##{piece}" for piece in pieces)]
    vocabulary = {name: number for number, name in enumerate(dict.fromkeys(names))}
    raw = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    raw.normalizer = normalizers.BertNormalizer()
    raw.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    raw.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    named = {"unk_token": "[UNK]", "pad_token": "[PAD]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    return PreTrainedTokenizerFast(tokenizer_object=raw, **named)


def make_bert(folder: Path) -> Path:
    """Write a plain BERT body (no head of any kind) with its tokenizer into ``folder``."""
    import torch
    from transformers import BertModel

    torch.manual_seed(0)
    model = BertModel(configs()["bert"])
    with torch.no_grad():  # with the usual tiny start the first token would take long to see the others
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.mul_(4.0)
    model.save_pretrained(folder)
    bert_tokenizer().save_pretrained(folder)
    return folder
