# The service on CPUs, for clients with the token:
#   docker build -t fullframe . && docker run --rm -p 8000:8000 -e FULLFRAME_TOKEN=... fullframe
FROM python:3.12-slim

ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PYTHONUNBUFFERED=1

# CPU wheels: those on PyPI bring several GB of CUDA. Headers and torch's own tests are another 150 MB.
RUN pip install torch torchvision --index-url https://download.pytorch.org/whl/cpu \
    && cd "$(python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')" && rm -rf torch/include torch/test
RUN --mount=type=bind,target=/src,rw pip install '/src[serve]'

RUN useradd --create-home --uid 1000 fullframe
USER fullframe
WORKDIR /home/fullframe
ENV NUMBA_CACHE_DIR=/home/fullframe/.cache/numba

# Compiles what is compiled at the first use, and shows that everything is there.
RUN fullframe run "$(python -c 'from fullframe.assets import DEMO; print(DEMO)')/three_people.jpg" -o demo --save overlay \
    && rm -r demo

EXPOSE 8000
HEALTHCHECK --start-period=60s CMD ["python", "-c", "from urllib.request import urlopen; urlopen('http://127.0.0.1:8000/health', timeout=5)"]
ENTRYPOINT ["fullframe", "serve", "--host", "0.0.0.0"]
