"""The verbs that need torch. They register through the entry-point group `gsvnet_engine.commands`."""
