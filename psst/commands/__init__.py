"""The commands of `psst`: one module a command, each with ``main(words) -> exit status``."""
