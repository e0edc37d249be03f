// A stand-in for TensorRT on the stand-in for the driver (tests/cuda/libcuda.cpp): what a plan reads and writes, it
// reads and writes when its turn comes on the stream, not when it is called.
//
// A plan is a line of JSON, {"shapes": {input: sides}, "values": {constant: values}, "outputs": {output: sides}}, and a
// model: as tests/engine/backends/tensorrt/standin_tensorrt.py makes them.
#pragma once

#include <functional>
#include <map>
#include <string>
#include <vector>

#include "tensorrt/plan.h"

namespace standin {

using Shapes = std::map<std::string, gsvnet::engine::Shape>;
using Inputs = std::map<std::string, std::vector<float>>;
using Outputs = std::map<std::string, float*>;
using Compute = std::function<void(const Inputs&, const Outputs&)>;

// What the model computes for inputs of these shapes. Test programs link one of two: scripted_plans.cpp,
// openvino_plans.cpp.
Compute compute_of(const std::string& model, const Shapes& inputs, const Shapes& values);

extern gsvnet::tensorrt::Version version;  // that the stand-in says it has
extern std::string plugins;                // the library that was loaded last

}  // namespace standin

// The controls of tests/cuda/libcuda.cpp.
extern "C" {
void standin_reset(unsigned seed);
void standin_device(int devices, int major, int minor, const char* name);
void standin_fail(long number, int code);
void standin_run();
void standin_hold(void* stream, int held);
long standin_calls(const char* name);
const char* standin_failed();
const char* standin_alive();
const char* standin_violations();
int standin_enqueue(void* stream, void (*run)(long), long number, const uintptr_t* touches, int count);
}
