"""Networks, training and export: everything here needs torch (the extra `export`); the engine never imports it."""
