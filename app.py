"""What gunicorn serves: `gunicorn app:app`."""

import os

from taskapi import create_app
from taskapi.config import load

app = create_app(load(os.environ))
