"""From the command line to a function call: flags, process handling, terminal tables."""
