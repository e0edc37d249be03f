"""The command line. Each verb is a module elsewhere; app.py finds them and turns errors into exit codes."""

from gsvnet_engine.cli.app import main

__all__ = ["main"]
