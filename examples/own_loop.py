"""A method alone, on any transformers model, in a training loop of your own."""

from __future__ import annotations

import tempfile
from pathlib import Path

import torch
from transformers import LlamaConfig, LlamaForCausalLM

import tunesmith as ts


def main() -> None:
    """Teach a small random model to count, train only LoRA's parameters, and save them as a PEFT folder."""
    torch.manual_seed(0)
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=64,
            hidden_size=64,
            intermediate_size=128,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_key_value_heads=2,
        )
    )
    attached = ts.attach(model, ts.Lora(rank=8, alpha=16))
    parameters = {name: value for group in attached.groups() for name, value in group.parameters.items()}
    optimizer = torch.optim.AdamW(parameters.values(), lr=1e-2)
    rows = torch.arange(32)[None] + torch.arange(16)[:, None]
    losses = []
    for _ in range(60):
        loss = model(input_ids=rows, labels=rows, use_cache=False).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(float(loss.detach()))
    with tempfile.TemporaryDirectory() as folder:
        attached.save(Path(folder), {name: value.detach().float() for name, value in parameters.items()})
        files = sorted(path.name for path in Path(folder).iterdir())
    print(f"loss {losses[0]:.2f} -> {losses[-1]:.2f} with {sum(v.numel() for v in parameters.values()):,} parameters")
    print("saved:", ", ".join(files))


if __name__ == "__main__":
    main()
