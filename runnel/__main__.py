"""Runs the command line for ``python -m runnel``."""

from runnel.cli import main

main(prog_name="runnel")
