"""python -m gsvnet_engine: the same as the command gsvnet-engine."""

from gsvnet_engine.cli import main

raise SystemExit(main())
