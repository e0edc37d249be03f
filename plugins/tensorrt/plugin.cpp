// The operations as TensorRT plugins (IPluginV3, TensorRT 10 and newer): core.h's decisions in TensorRT's words.
//
// Loaded with IPluginRegistry::loadLibrary. Links no TensorRT library: it exports getCreators and setLoggerFinder, and
// uses nothing but interfaces. A plugin holds no state that running changes, so any number of contexts may run at once.

#include <NvInferRuntime.h>

#include <atomic>
#include <new>

#include "core.h"

namespace {

using namespace nvinfer1;
namespace own = gsvnet::tensorrt;
using own::Operation;

std::atomic<ILoggerFinder*> finder{nullptr};

void report(const char* message) noexcept {
  ILoggerFinder* const found = finder;
  if (ILogger* const logger = found ? found->findLogger() : nullptr) logger->log(ILogger::Severity::kERROR, message);
}

own::Type type_of(DataType type) {
  switch (type) {
    case DataType::kFLOAT: return own::Type::kFloat;
    case DataType::kHALF: return own::Type::kHalf;
    case DataType::kINT8: return own::Type::kInt8;
    case DataType::kINT32: return own::Type::kInt32;
    case DataType::kINT64: return own::Type::kInt64;
    default: return own::Type::kOther;
  }
}

own::Sizes sizes_of(Operation operation, const Dims* inputs, const Dims& output) {
  const Dims& scores = inputs[0];
  own::Sizes sizes{scores.d[0], scores.d[1], scores.d[2], scores.d[3], 0, 0, 0};
  if (operation == Operation::kWarp) sizes.other = inputs[1].d[1];
  if (operation == Operation::kFilter) sizes.other = inputs[2].d[1];
  if (operation == Operation::kLabels) sizes.height = output.d[1], sizes.width = output.d[2];
  return sizes;
}

own::Sizes sizes_of(Operation operation, const PluginTensorDesc* in, const PluginTensorDesc* out) {
  Dims dims[3];
  for (int i = 0; i < own::signature(operation).tensors; ++i) dims[i] = in[i].dims;
  return sizes_of(operation, dims, out[0].dims);
}

class Plugin final : public IPluginV3,
                     public IPluginV3OneCore,
                     public IPluginV3OneBuild,
                     public IPluginV3OneRuntime {
 public:
  Plugin(Operation operation, const char* space) : operation_(operation), space_(space) {}

  IPluginCapability* getCapabilityInterface(PluginCapabilityType type) noexcept override {
    switch (type) {
      case PluginCapabilityType::kCORE: return static_cast<IPluginV3OneCore*>(this);
      case PluginCapabilityType::kBUILD: return static_cast<IPluginV3OneBuild*>(this);
      case PluginCapabilityType::kRUNTIME: return static_cast<IPluginV3OneRuntime*>(this);
    }
    return nullptr;
  }

  IPluginV3* clone() noexcept override { return new (std::nothrow) Plugin(operation_, space_); }
  IPluginV3* attachToContext(IPluginResourceContext*) noexcept override { return clone(); }

  const char* getPluginName() const noexcept override { return own::signature(operation_).name; }
  const char* getPluginVersion() const noexcept override { return own::kVersion; }
  const char* getPluginNamespace() const noexcept override { return space_; }

  int32_t getNbOutputs() const noexcept override { return own::signature(operation_).outputs; }

  int32_t getOutputDataTypes(DataType* outputs, int32_t count, const DataType* inputs,
                             int32_t given) const noexcept override {
    if (given < 1 || count != getNbOutputs()) return -1;
    const bool bytes = own::output_type(operation_, type_of(inputs[0])) == own::Type::kInt8;
    for (int i = 0; i < count; ++i) outputs[i] = bytes ? DataType::kINT8 : inputs[0];
    return 0;
  }

  int32_t getOutputShapes(const DimsExprs* inputs, int32_t given, const DimsExprs* values, int32_t shapes,
                          DimsExprs* outputs, int32_t count, IExprBuilder& builder) noexcept override {
    const own::Signature& own_signature = own::signature(operation_);
    if (given < own_signature.tensors || count != own_signature.outputs) return -1;
    if (shapes != own_signature.shapes || (shapes && values[0].nbDims != 2)) {
      report("gsvnet: LabelUpsampleInt8 takes its size [2] as a shape input");
      return -1;
    }
    for (int i = 0; i < own_signature.tensors; ++i)
      if (inputs[i].nbDims != 4) return -1;
    for (int i = 0; i < count; ++i) {
      outputs[i].nbDims = own::rank(operation_);
      for (int axis = 0; axis < outputs[i].nbDims; ++axis) {
        const own::Extent extent = own::extent(operation_, i, axis);
        outputs[i].d[axis] = extent.kind == own::Extent::kInput      ? inputs[extent.from].d[extent.axis]
                             : extent.kind == own::Extent::kConstant ? builder.constant(extent.axis)
                                                                     : values[extent.from].d[extent.axis];
      }
    }
    return 0;
  }

  bool supportsFormatCombination(int32_t at, const DynamicPluginTensorDesc* all, int32_t inputs,
                                 int32_t) noexcept override {
    own::Type types[6];
    if (at >= 6) return false;
    for (int i = 0; i <= at; ++i) types[i] = type_of(all[i].desc.type);
    return own::supports(operation_, at, inputs, types, all[at].desc.format == TensorFormat::kLINEAR);
  }

  int32_t configurePlugin(const DynamicPluginTensorDesc*, int32_t, const DynamicPluginTensorDesc*,
                          int32_t) noexcept override {
    return 0;
  }

  size_t getWorkspaceSize(const DynamicPluginTensorDesc* in, int32_t, const DynamicPluginTensorDesc* out,
                          int32_t) const noexcept override {
    Dims most[3];
    for (int i = 0; i < own::signature(operation_).tensors; ++i) most[i] = in[i].max;
    return own::workspace(operation_, sizes_of(operation_, most, out[0].max));
  }

  int32_t onShapeChange(const PluginTensorDesc* in, int32_t, const PluginTensorDesc* out, int32_t) noexcept override {
    const char* const problem = own::problem(operation_, sizes_of(operation_, in, out));
    if (problem) report(problem);
    return problem ? -1 : 0;
  }

  int32_t enqueue(const PluginTensorDesc* in, const PluginTensorDesc* out, const void* const* inputs,
                  void* const* outputs, void* workspace, cudaStream_t stream) noexcept override {
    return own::enqueue(operation_, type_of(in[0].type), sizes_of(operation_, in, out), inputs, outputs, workspace,
                        stream);
  }

  // Nothing to keep: name and namespace say which operation it is, and the shapes say the rest.
  const PluginFieldCollection* getFieldsToSerialize() noexcept override { return &none_; }

 private:
  Operation operation_;
  const char* space_;
  PluginFieldCollection none_{0, nullptr};
};

class Creator final : public IPluginCreatorV3One {
 public:
  Creator(Operation operation, const char* space) : operation_(operation), space_(space) {}

  const char* getPluginName() const noexcept override { return own::signature(operation_).name; }
  const char* getPluginVersion() const noexcept override { return own::kVersion; }
  const char* getPluginNamespace() const noexcept override { return space_; }
  const PluginFieldCollection* getFieldNames() noexcept override { return &none_; }

  IPluginV3* createPlugin(const char*, const PluginFieldCollection*, TensorRTPhase) noexcept override {
    return new (std::nothrow) Plugin(operation_, space_);
  }

 private:
  Operation operation_;
  const char* space_;
  PluginFieldCollection none_{0, nullptr};
};

}  // namespace

extern "C" __attribute__((visibility("default"))) IPluginCreatorInterface* const* getCreators(int32_t& count) {
  static Creator creators[] = {
      {Operation::kWarp, own::kNamespaces[0]},   {Operation::kWarp, own::kNamespaces[1]},
      {Operation::kFilter, own::kNamespaces[0]}, {Operation::kFilter, own::kNamespaces[1]},
      {Operation::kLabels, own::kNamespaces[0]}, {Operation::kLabels, own::kNamespaces[1]},
  };
  static IPluginCreatorInterface* const list[] = {&creators[0], &creators[1], &creators[2],
                                                  &creators[3], &creators[4], &creators[5]};
  count = 6;
  return list;
}

extern "C" __attribute__((visibility("default"))) void setLoggerFinder(ILoggerFinder* given) { finder = given; }
