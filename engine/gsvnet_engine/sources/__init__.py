"""Where frames come from, one kind a file. `video.open_source` chooses among them."""
