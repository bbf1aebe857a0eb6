# One image for both processes: `web` is the default command, `sync` is `python sync_worker.py`.
FROM python:3.13-slim

ENV PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
RUN useradd --system --no-create-home --shell /usr/sbin/nologin taskapi \
    && install -d -o taskapi -g taskapi -m 0700 /data
WORKDIR /opt/taskapi
COPY requirements.txt ./
RUN pip install --no-cache-dir --disable-pip-version-check -r requirements.txt
COPY app.py sync_worker.py gunicorn.conf.py ./
COPY schemas schemas
COPY taskapi taskapi

USER taskapi
ENV SERVER_HOST=0.0.0.0 DATA_DIR=/data
VOLUME /data
EXPOSE 7890
CMD ["gunicorn", "app:app"]
