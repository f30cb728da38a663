"""Rewards: what is good about an answer. ``TABLE`` maps the names recipes use to config classes.

A recipe names a list of them, and their weighted sum is what reinforcement learning raises:

    objective: {name: grpo, rewards: [{name: numeric}, {name: format, pattern: '<think>.*</think>', weight: 0.2}]}
"""

from tunesmith.registry import Table

TABLE = Table(
    "reward",
    {
        "exact": "tunesmith.rewards.exact:Exact",
        "numeric": "tunesmith.rewards.numeric:Numeric",
        "format": "tunesmith.rewards.format:Format",
        "length": "tunesmith.rewards.length:Length",
        "overlong": "tunesmith.rewards.overlong:Overlong",
        "code": "tunesmith.rewards.code:Code",
        "model": "tunesmith.rewards.model:Model",
        "judge": "tunesmith.rewards.judge:Judge",
        "python": "tunesmith.rewards.python:Python",
    },
)
