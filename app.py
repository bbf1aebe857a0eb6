"""What gunicorn serves: `gunicorn app:app`."""

import os

from gunicorn.http.errors import ParseException
from werkzeug.exceptions import BadRequest

from taskapi import create_app
from taskapi.config import load

app = create_app(load(os.environ))
# gunicorn raises this while a view reads a malformed body: a chunk of negative length, say.
app.register_error_handler(ParseException, lambda _: app.handle_http_exception(BadRequest()))
