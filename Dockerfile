# docker build -t tunemv3d .                                                        for a CPU
# docker build -t tunemv3d --build-arg TORCH=https://download.pytorch.org/whl/cu130 .   for CUDA (run with --gpus all)
FROM python:3.12-slim
ARG TORCH=https://download.pytorch.org/whl/cpu
# moderngl draws meshes by EGL, in software where there is no GPU.
RUN apt-get update && apt-get install -y --no-install-recommends libegl1 libgl1-mesa-dri make && rm -rf /var/lib/apt/lists/*
WORKDIR /tunemv3d
RUN pip install --no-cache-dir --index-url "$TORCH" torch
COPY . .
RUN pip install --no-cache-dir ./tunemv3d_core ./tunemv3d_neus ./tunemv3d_modulation ./tunemv3d_train \
    ./plugins/tunemv3d_data ./plugins/tunemv3d_eval ./plugins/tunemv3d_mini ./plugins/tunemv3d_shape ./plugins/tunemv3d_show .
WORKDIR /work
ENTRYPOINT ["tunemv3d"]
CMD ["--help"]
