"""The console: a page that shows what the API knows. Its sources are in `console/`."""
