"""The command line: one file a command, each of them arguments -> one library call -> output."""
