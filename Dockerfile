# docker build -t tunemv3d .
# docker build -t tunemv3d --build-arg TORCH_INDEX=ADDRESS .   torch from another index, such as PyTorch's own for a CPU or a CUDA version
# With a GPU: docker run --gpus all tunemv3d ...
FROM python:3.12-slim
ARG TORCH_INDEX=
# moderngl draws meshes by EGL, in software where there is no GPU.
RUN apt-get update && apt-get install -y --no-install-recommends libegl1 libgl1-mesa-dri make && rm -rf /var/lib/apt/lists/*
WORKDIR /tunemv3d
RUN pip install --no-cache-dir ${TORCH_INDEX:+--index-url "$TORCH_INDEX"} torch
COPY . .
RUN pip install --no-cache-dir ./tunemv3d_core ./tunemv3d_neus ./tunemv3d_modulation ./tunemv3d_train \
    ./plugins/tunemv3d_data ./plugins/tunemv3d_eval ./plugins/tunemv3d_mini ./plugins/tunemv3d_shape ./plugins/tunemv3d_show .
WORKDIR /work
ENTRYPOINT ["tunemv3d"]
CMD ["--help"]
