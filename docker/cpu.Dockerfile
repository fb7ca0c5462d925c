# The relay and every command on a CPU. Build from the root of the checkout:
#   docker build -f docker/cpu.Dockerfile -t rtcodec .
#   docker run --network host -e RTCODEC_KEYS rtcodec serve --host 0.0.0.0

FROM python:3.12-slim AS build
RUN apt-get update && apt-get install -y --no-install-recommends gcc libc6-dev clang lld && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY . .
RUN python -m pip wheel --no-cache-dir --no-deps --wheel-dir /wheels .

FROM python:3.12-slim
COPY --from=build /wheels /wheels
RUN wheel=$(ls /wheels/rtcodec-*.whl) \
    && python -m pip install --no-cache-dir "${wheel}[cpu]" \
    && rm -r /wheels \
    && useradd --create-home rtcodec \
    && install --directory --owner rtcodec /recordings
USER rtcodec
WORKDIR /home/rtcodec
EXPOSE 8080
STOPSIGNAL SIGTERM
ENTRYPOINT ["rtcodec"]
CMD ["serve", "--host", "0.0.0.0"]
