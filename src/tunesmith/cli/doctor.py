"""``tunesmith doctor``: what this machine is, how fast it is, and what is missing."""

from __future__ import annotations

import click

from tunesmith.cli.output import emit, json_option, pairs, stdout


@click.command()
@json_option
def doctor(as_json: bool) -> None:
    """Show versions, hardware, measured number formats and speeds, and which extras are missing."""
    from tunesmith.cli.machine import machine

    found = machine()
    if as_json:
        emit(found)
        return
    console = stdout()
    hardware = {**found["hardware"], "devices": ", ".join(found["hardware"]["devices"]) or "no GPU"}
    hardware["memory"] = f"{hardware.pop('memory_bytes') / 2**30:.1f} GiB"
    speeds = found["speeds"]
    for title, values in (
        ("Versions", found["versions"]),
        ("Hardware", hardware),
        ("Threads", found["threads"]),
        ("Matrix products", {
            "float32": f"{speeds['float32_gflops']:,.0f} GFLOP/s",
            "bfloat16": f"{speeds['bfloat16_gflops']:,.0f} GFLOP/s",
            "dtype auto": speeds["dtype"],
        }),
        ("Extras", {extra["name"]: _state(extra) for extra in found["extras"]}),
    ):  # fmt: skip
        console.print(f"\n[bold]{title}[/]")
        console.print(pairs(values))


def _state(extra: dict[str, object]) -> str:
    missing = extra["missing"]
    assert isinstance(missing, list)
    return f"missing {', '.join(missing)}: {extra['install']}" if missing else "installed"
