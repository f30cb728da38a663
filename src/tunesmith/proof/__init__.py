"""Proofs that a run would train what was asked for: one file each, one line here, cheap ones first."""

from tunesmith.registry import Table

TABLE = Table(
    "proof",
    {
        "targets": "tunesmith.proof.targets:PROOF",
        "end-of-turn": "tunesmith.proof.end_of_turn:PROOF",
        "rendering": "tunesmith.proof.rendering:PROOF",
        "mask": "tunesmith.proof.mask:PROOF",
        "identity": "tunesmith.proof.identity:PROOF",
        "margin": "tunesmith.proof.margin:PROOF",
        "merge": "tunesmith.proof.merge:PROOF",
        "packing": "tunesmith.proof.packing:PROOF",
        "sharing": "tunesmith.proof.sharing:PROOF",
        "save-load": "tunesmith.proof.save_load:PROOF",
        "isolation": "tunesmith.proof.isolation:PROOF",
        "gradients": "tunesmith.proof.gradients:PROOF",
        "micro-batches": "tunesmith.proof.micro_batches:PROOF",
        "resume": "tunesmith.proof.resume:PROOF",
    },
)
