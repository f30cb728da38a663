"""From prompts to answers: batched greedy and sampled generation with the project's own cache."""
