"""``tunesmith data``: rows looked at, cleaned, parted, converted and built; the ledger of every row."""

from __future__ import annotations

import click

from tunesmith.cli.build import COMMANDS as BUILDING
from tunesmith.cli.convert import COMMANDS as CONVERTING
from tunesmith.cli.curate import COMMANDS as CURATING
from tunesmith.cli.data_report import COMMANDS as REPORTING
from tunesmith.cli.review import COMMANDS as REVIEWING
from tunesmith.cli.show import COMMANDS as SHOWING
from tunesmith.cli.split import COMMANDS as SPLITTING


@click.group()
def data() -> None:
    """Look at what would be trained on, and at what is lost on the way."""


for _command in (*SHOWING, *REPORTING, *REVIEWING, *CURATING, *SPLITTING, *CONVERTING, *BUILDING):
    data.add_command(_command)
