# The same with torch for CUDA: trains on a GPU. Relays run the networks on the CPU until there is an
# engine for GPUs (`rtcodec doctor` says what is usable). Build from the root of the checkout:
#   docker build -f docker/gpu.Dockerfile -t rtcodec:gpu .
#   docker run --gpus all --network host -v "$PWD/clips:/clips" rtcodec:gpu train --tier s128 --data /clips --out run

FROM python:3.12-slim AS build
RUN apt-get update && apt-get install -y --no-install-recommends gcc libc6-dev clang lld && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY . .
RUN python -m pip wheel --no-cache-dir --no-deps --wheel-dir /wheels .

# torch's own wheels bring CUDA's libraries; the driver comes from the host, by NVIDIA's runtime.
FROM python:3.12-slim
ENV NVIDIA_VISIBLE_DEVICES=all NVIDIA_DRIVER_CAPABILITIES=compute,utility
COPY --from=build /wheels /wheels
RUN wheel=$(ls /wheels/rtcodec-*.whl) \
    && python -m pip install --no-cache-dir "${wheel}[cpu,train]" \
    && rm -r /wheels \
    && useradd --create-home rtcodec \
    && install --directory --owner rtcodec /recordings
USER rtcodec
WORKDIR /home/rtcodec
EXPOSE 8080
STOPSIGNAL SIGTERM
ENTRYPOINT ["rtcodec"]
CMD ["serve", "--host", "0.0.0.0"]
