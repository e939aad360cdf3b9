"""The verbs of the command, each a `Config` of flags, a function, and a function that shows what it returned."""
