// What the TensorRT plugins decide: types, shapes, memory. Nothing of TensorRT is included, so that all of it is built
// and tested everywhere; plugin.cpp only translates.
#pragma once

#include <cstddef>
#include <cstdint>

namespace gsvnet::tensorrt {

// LabelUpsample itself cannot be a plugin: TensorRT allows no uint8 out of one, and a network's uint8 output only from a
// cast (NvInferRuntime.h at getOutputDataTypes; NVIDIA/TensorRT issue 4282). So the graph's node keeps its local function,
// and the plugin has a name of its own and gives the same bytes as int8, for networks that are built through the API.
enum class Operation { kWarp, kFilter, kLabels };

enum class Type { kFloat, kHalf, kInt8, kInt32, kInt64, kOther };

struct Signature {
  const char* name;
  int tensors;  // inputs on the device
  int shapes;   // shape inputs: their values, known on the host, make the output's size
  int outputs;
};

constexpr Signature kSignatures[] = {
    {"SegmentationWarp", 2, 0, 2},   // scores, flow -> warped, edges
    {"GuidedFilter", 3, 0, 1},       // warped, intra, weights -> scores
    {"LabelUpsampleInt8", 1, 1, 1},  // scores, size [2] = H, W -> labels
};
constexpr const char* kVersion = "1";

// TensorRT 10.7 to 10.9 look a node's plugin up without a namespace, from 10.10 on with its domain for one.
constexpr const char* kNamespaces[] = {"", "gsvnet"};

constexpr const Signature& signature(Operation operation) { return kSignatures[static_cast<int>(operation)]; }

inline Type output_type(Operation operation, Type first) {
  return operation == Operation::kLabels ? Type::kInt8 : first;
}

// Whether tensor `at` (inputs, then outputs) may have its type and layout, given those before it. All float tensors have
// one type, float32 or float16. Whether a shape input is among the inputs is TensorRT's affair: `inputs` says so.
inline bool supports(Operation operation, int at, int inputs, const Type* types, bool linear) {
  if (!linear || (types[0] != Type::kFloat && types[0] != Type::kHalf)) return false;
  if (at < signature(operation).tensors) return types[at] == types[0];
  if (at < inputs) return types[at] == Type::kInt32 || types[at] == Type::kInt64;
  return types[at] == output_type(operation, types[0]);
}

// Where an output's size along an axis comes from: axis `axis` of input `from`; or `axis` itself; or value `axis` of the
// shape input.
struct Extent {
  enum Kind { kInput, kConstant, kValue } kind;
  int from;
  int axis;
};

inline int rank(Operation operation) { return operation == Operation::kLabels ? 3 : 4; }

inline Extent extent(Operation operation, int output, int axis) {
  if (operation == Operation::kWarp && output == 1 && axis == 1) return {Extent::kConstant, 0, 1};  // edges [N,1,h,w]
  if (operation == Operation::kLabels && axis > 0) return {Extent::kValue, 0, axis - 1};
  return {Extent::kInput, 0, axis};
}

struct Sizes {
  int64_t n, classes, rows, columns;
  int64_t other;          // channels of the warp's flow, of the filter's weights
  int64_t height, width;  // of labels
};

// Why these sizes cannot be, or null.
inline const char* problem(Operation operation, const Sizes& at) {
  constexpr int64_t kMost = 1 << 20, kDepth = 65535;  // kDepth: a grid's third side
  const int64_t all[] = {at.n, at.classes, at.rows, at.columns};
  for (const int64_t size : all)
    if (size < 1 || size > kMost) return "sizes must be between 1 and 2^20";
  if (at.n > kDepth) return "a batch must be of 65535 items at most";
  if (operation != Operation::kFilter && at.classes > 256) return "scores must be of 256 classes at most";
  if (operation == Operation::kWarp && at.other != 2) return "flow must be [N,2,h,w]";
  if (operation == Operation::kFilter && at.other != 10 && at.other != 18)
    return "weights must be [N,10,h,w] or [N,18,h,w]";
  if (operation == Operation::kFilter && at.n * ((at.classes + 3) / 4) > kDepth) return "too many items and classes";
  if (operation == Operation::kLabels && (at.height < 1 || at.width < 1 || at.height > kMost || at.width > kMost))
    return "labels' sizes must be between 1 and 2^20";
  return nullptr;
}

// Bytes of scratch memory: the warp's class map, which its edges are made of.
inline size_t workspace(Operation operation, const Sizes& at) {
  return operation == Operation::kWarp ? static_cast<size_t>(at.n * at.rows * at.columns) : 0;
}

// enqueue.cu. Starts the operation's kernels on a stream, inputs and outputs in the signature's order; 0, or an error of
// CUDA's, or -1 where problem() finds one.
int enqueue(Operation operation, Type type, const Sizes& at, const void* const* inputs, void* const* outputs,
            void* workspace, void* stream);

}  // namespace gsvnet::tensorrt
