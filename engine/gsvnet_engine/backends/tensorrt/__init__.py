"""TensorRT 8.6, 10, 11 and TensorRT for RTX on an NVIDIA GPU, and what every backend there shares.

    options      what a user may choose
    generation   which of them a machine gets, on which road, and why: pure decisions
    plans        a bundle's graph -> a plan
    cache        plans on disk: key, sidecar, bounds
    engine       a plan, ready to run
    picture      frames on the device: how planes lie packed, and preparing them
    uploads      frames on their way there: pinned buffers that the decode thread fills
    steps        the work of a frame as CUDA graphs
    order        every wait between streams, by name
    runtime      a video's frames through both networks: all of the above
    session      a bundle's networks for one size, for videos and array by array
    backend      what backends/__init__.py opens

From `picture` down to `session` nothing knows TensorRT: onnxruntime_gpu.py runs its own networks in the same sessions.

Nothing is imported here, and TensorRT only once the driver has shown a GPU. It is tested on a
stand-in for the driver and the runtime (tests/engine/backends/tensorrt); from `picture` down to `session` an H200 has
confirmed it, with kernels of our own in TensorRT's place (tests/gpu). No card has run TensorRT itself here.
"""
