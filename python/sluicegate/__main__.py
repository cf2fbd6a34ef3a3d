"""``python -m sluicegate``: the command line."""

from sluicegate.cli import main

main(prog_name="sluicegate")
