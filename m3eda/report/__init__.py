"""What comes out of a run: the terminal, the tables, the files a flow goes on with.

Nothing is imported here, so that the command line starts fast; see `summary`, `tables`, `package`,
`atomic`, `depfile` and `terminal`.
"""
