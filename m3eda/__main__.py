"""`python -m m3eda`: the command line."""

from m3eda.cli import main

main()
