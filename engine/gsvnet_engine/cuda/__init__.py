"""A thin layer over the CUDA driver API: what the TensorRT backend needs of it, checked and released in order.

    driver      every call, checked: values or one BackendError
    device      which GPUs there are, and a device's primary context
    streams     streams and events
    memory      device memory, pinned host memory, and device memory that others own
    modules     kernels, compiled by NVRTC for exactly this card
    graphs      a stream's work, captured once and launched as one

The driver API and not the runtime API: it is the one that a test can stand in for (tests/cuda/libcuda.cpp), so that
order, lifetime and errors are tested on machines without a GPU. Importing this package imports nothing of CUDA.
"""
