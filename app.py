"""The WSGI application: `gunicorn app:app`."""

import os

from gunicorn.http.errors import ParseException
from werkzeug.exceptions import BadRequest

from taskapi import create_app
from taskapi.config import load

app = create_app(load(os.environ))
# gunicorn raises ParseException when a view reads a malformed body (a negative chunk length).
app.register_error_handler(ParseException, lambda _: app.handle_http_exception(BadRequest()))
