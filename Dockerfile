# CPU image: docker build -t gsvnet-engine . && docker run --rm -v "$PWD:/video" gsvnet-engine run road.mp4
FROM python:3.11-slim AS build
RUN apt-get update && apt-get install -y --no-install-recommends g++ make && rm -rf /var/lib/apt/lists/*
COPY . /src
RUN pip wheel --no-cache-dir --no-deps -w /wheels /src

FROM python:3.11-slim
RUN apt-get update && apt-get install -y --no-install-recommends libgl1 libglib2.0-0 && rm -rf /var/lib/apt/lists/*
RUN --mount=type=bind,from=build,source=/wheels,target=/wheels \
    pip install --no-cache-dir "$(ls /wheels/gsvnet_engine-*.whl)[cpu]"
WORKDIR /video
ENTRYPOINT ["gsvnet-engine"]
