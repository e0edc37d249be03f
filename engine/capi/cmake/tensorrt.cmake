# gsvnet_nvinfer: TensorRT itself (headers alone; libnvinfer is loaded at run time), and the kernels as machine code.
set(TENSORRT_ROOT "$ENV{TENSORRT_ROOT}" CACHE PATH "Folder of TensorRT's include/NvInferRuntime.h")
find_path(TENSORRT_INCLUDE_DIR NvInferRuntime.h HINTS "${TENSORRT_ROOT}" PATH_SUFFIXES include)
find_package(CUDAToolkit QUIET)
if(NOT TENSORRT_INCLUDE_DIR)
  message(STATUS "TensorRT backend left out: NvInferRuntime.h is not found (-DTENSORRT_ROOT=...)")
  return()
elseif(NOT CUDAToolkit_NVCC_EXECUTABLE)
  message(STATUS "TensorRT backend left out: nvcc is not found (-DCUDAToolkit_ROOT=...)")
  return()
endif()
message(STATUS "TensorRT backend: ${TENSORRT_INCLUDE_DIR}, nvcc ${CUDAToolkit_VERSION}")

# Machine code for each, and PTX of the newest for those to come.
if(CUDAToolkit_VERSION VERSION_GREATER_EQUAL 13)
  set(architectures 75 80 86 89 90 100 120)
elseif(CUDAToolkit_VERSION VERSION_GREATER_EQUAL 12.8)
  set(architectures 61 70 75 80 86 89 90 100 120)
else()
  set(architectures 61 70 75 80 86 89 90)
endif()
set(GSVNET_CUDA_ARCHITECTURES "${architectures}" CACHE STRING "GPUs to compile the kernels for")
set(targets)
foreach(architecture ${GSVNET_CUDA_ARCHITECTURES})
  list(APPEND targets -gencode arch=compute_${architecture},code=sm_${architecture})
  set(newest ${architecture})
endforeach()
list(APPEND targets -gencode arch=compute_${newest},code=compute_${newest})

set(fatbins)
foreach(operation frame labels)
  set(fatbin ${CMAKE_CURRENT_BINARY_DIR}/${operation}.fatbin)
  set(source ${kernels}/${operation}/${operation}.cu)
  # -fmad=false: no contraction, as in the CPU loops.
  add_custom_command(OUTPUT ${fatbin}
    COMMAND ${CUDAToolkit_NVCC_EXECUTABLE} -fatbin -std=c++17 -fmad=false ${targets} ${source} -o ${fatbin}
    DEPENDS ${source} ${kernels}/${operation}/core.h ${kernels}/portable.h VERBATIM)
  list(APPEND fatbins ${fatbin})
endforeach()
set_source_files_properties(src/tensorrt/kernels.cpp PROPERTIES OBJECT_DEPENDS "${fatbins}"
  COMPILE_DEFINITIONS GSVNET_FATBINS="${CMAKE_CURRENT_BINARY_DIR}")

add_library(gsvnet_nvinfer OBJECT src/tensorrt/kernels.cpp src/tensorrt/nvinfer.cpp src/tensorrt/order.cpp)
target_include_directories(gsvnet_nvinfer PRIVATE include src)
target_include_directories(gsvnet_nvinfer SYSTEM PRIVATE "${TENSORRT_INCLUDE_DIR}" ${CUDAToolkit_INCLUDE_DIRS})
target_compile_options(gsvnet_nvinfer PRIVATE -Wall -Wextra -Wpedantic -Wshadow)
