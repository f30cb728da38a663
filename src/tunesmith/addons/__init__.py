"""Add-ons to any objective, combined by weight. ``TABLE`` maps the names recipes use to config classes."""

from tunesmith.registry import Table

TABLE = Table(
    "addon",
    {
        "ewc": "tunesmith.addons.ewc:Ewc",
        "l2": "tunesmith.addons.l2:L2",
        "kl": "tunesmith.addons.kl:Kl",
        "replay": "tunesmith.addons.replay:Replay",
        "r-drop": "tunesmith.addons.r_drop:RDrop",
        "neftune": "tunesmith.addons.neftune:Neftune",
        "reptile": "tunesmith.addons.reptile:Reptile",
    },
)
