"""Training on answers that the model samples while it learns: prompts, answers, rewards, and updates made of them."""
