"""The pipeline as a web service, for `uniner serve` or a server of one's own. `app.py` needs the extra `serve`."""
