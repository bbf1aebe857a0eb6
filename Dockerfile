# One image for both processes: `web` is the default command, `sync` is `python sync_worker.py`.
# Any user can run it, with a read-only root, if group 0 or the user can write to /data and /tmp (OpenShift).
FROM python:3.13-slim

ENV PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
RUN useradd --system --uid 10001 --no-create-home --shell /usr/sbin/nologin taskapi \
    && install -d -o taskapi -g 0 -m 0770 /data
WORKDIR /opt/taskapi
COPY requirements.txt ./
RUN pip install --no-cache-dir --disable-pip-version-check -r requirements.txt
COPY app.py sync_worker.py gunicorn.conf.py ./
COPY schemas schemas
COPY taskapi taskapi

USER 10001
ENV SERVER_HOST=0.0.0.0 DATA_DIR=/data
VOLUME /data
EXPOSE 7890
CMD ["gunicorn", "app:app"]
