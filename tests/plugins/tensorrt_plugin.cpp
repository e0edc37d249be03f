// The TensorRT adapter, against TensorRT's real headers but without its library: what TensorRT would call, called here, and
// the kernels run as host code.
#include "../../plugins/tensorrt/plugin.cpp"

#include <NvInfer.h>
#include <NvInferImpl.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#define CHECK(condition) \
  if (!(condition)) std::printf("line %d: %s\n", __LINE__, #condition), std::exit(1)

namespace {

struct Logger final : ILogger {
  std::string last;
  void log(Severity, const char* message) noexcept override { last = message; }
};

struct Finder final : ILoggerFinder {
  Logger logger;
  ILogger* findLogger() override { return &logger; }
};

// A plugin as the registry makes it, through its three interfaces.
struct Made {
  std::unique_ptr<IPluginV3> plugin;
  IPluginV3OneCore* core;
  IPluginV3OneBuild* build;
  IPluginV3OneRuntime* runtime;

  explicit Made(IPluginV3* given)
      : plugin(given),
        core(static_cast<IPluginV3OneCore*>(given->getCapabilityInterface(PluginCapabilityType::kCORE))),
        build(static_cast<IPluginV3OneBuild*>(given->getCapabilityInterface(PluginCapabilityType::kBUILD))),
        runtime(static_cast<IPluginV3OneRuntime*>(given->getCapabilityInterface(PluginCapabilityType::kRUNTIME))) {}
};

Made make(const char* name, const char* space) {
  int32_t count = 0;
  IPluginCreatorInterface* const* const creators = getCreators(count);
  for (int i = 0; i < count; ++i) {
    CHECK(!std::strcmp(creators[i]->getInterfaceInfo().kind, "PLUGIN CREATOR_V3ONE"));
    auto* const creator = static_cast<IPluginCreatorV3One*>(creators[i]);
    if (std::strcmp(creator->getPluginName(), name) || std::strcmp(creator->getPluginNamespace(), space)) continue;
    CHECK(!std::strcmp(creator->getPluginVersion(), "1") && creator->getFieldNames()->nbFields == 0);
    return Made(creator->createPlugin("node", creator->getFieldNames(), TensorRTPhase::kBUILD));
  }
  std::printf("no creator for %s in \"%s\"\n", name, space), std::exit(1);
}

DynamicPluginTensorDesc tensor(std::vector<int64_t> dims, DataType type) {
  DynamicPluginTensorDesc made{};
  made.desc.dims.nbDims = static_cast<int32_t>(dims.size());
  for (size_t i = 0; i < dims.size(); ++i) made.desc.dims.d[i] = dims[i];
  made.desc.type = type;
  made.desc.format = TensorFormat::kLINEAR;
  made.min = made.opt = made.max = made.desc.dims;
  return made;
}

// Dimensions are known by their addresses: what an output's are must be the very expressions of the inputs.
const IDimensionExpr* expression(int i) {
  static char place[64];
  return reinterpret_cast<const IDimensionExpr*>(&place[i]);
}

struct Builder final : IExprBuilder, apiv::VExprBuilder {
  Builder() { mImpl = this; }
  IExprBuilder* getPImpl() noexcept { return this; }
  const IDimensionExpr* constant(int64_t value) noexcept override { return expression(60 + static_cast<int>(value)); }
  const IDimensionExpr* operation(DimensionOperation, const IDimensionExpr&, const IDimensionExpr&) noexcept override {
    return nullptr;
  }
  const IDimensionExpr* declareSizeTensor(int32_t, const IDimensionExpr&, const IDimensionExpr&) noexcept override {
    return nullptr;
  }
};

// The expressions are numbered 10 * input + axis, and 40 + i for the values of a shape input.
std::vector<long> shapes_of(Made& made, int inputs, int shapes) {
  DimsExprs in[3]{}, values[1]{}, out[2]{};
  for (int i = 0; i < inputs; ++i) {
    in[i].nbDims = 4;
    for (int axis = 0; axis < 4; ++axis) in[i].d[axis] = expression(10 * i + axis);
  }
  values[0].nbDims = 2;
  for (int i = 0; i < 2; ++i) values[0].d[i] = expression(40 + i);
  Builder builder;
  const int count = made.build->getNbOutputs();
  CHECK(!made.build->getOutputShapes(in, inputs, shapes ? values : nullptr, shapes, out, count, builder));
  std::vector<long> numbers;
  for (int i = 0; i < count; ++i)
    for (int axis = 0; axis < out[i].nbDims; ++axis)
      numbers.push_back(reinterpret_cast<const char*>(out[i].d[axis]) - reinterpret_cast<const char*>(expression(0)));
  return numbers;
}

void check_shapes() {
  for (const char* space : {"", "gsvnet"}) {
    Made warp = make("SegmentationWarp", space), filter = make("GuidedFilter", space);
    Made labels = make("LabelUpsampleInt8", space);
    CHECK((shapes_of(warp, 2, 0) == std::vector<long>{0, 1, 2, 3, 0, 61, 2, 3}));
    CHECK((shapes_of(filter, 3, 0) == std::vector<long>{0, 1, 2, 3}));
    CHECK((shapes_of(labels, 1, 1) == std::vector<long>{0, 40, 41}));
    CHECK(!std::strcmp(warp.core->getPluginNamespace(), space));
    CHECK(warp.runtime->getFieldsToSerialize()->nbFields == 0);
  }
}

void check_types() {
  for (const DataType type : {DataType::kFLOAT, DataType::kHALF, DataType::kINT32, DataType::kBF16}) {
    const bool fine = type == DataType::kFLOAT || type == DataType::kHALF;
    Made warp = make("SegmentationWarp", "gsvnet");
    const DynamicPluginTensorDesc all[] = {tensor({1, 3, 4, 5}, type), tensor({1, 2, 4, 5}, type),
                                           tensor({1, 3, 4, 5}, type), tensor({1, 1, 4, 5}, type)};
    for (int at = 0; at < 4; ++at) CHECK(warp.build->supportsFormatCombination(at, all, 2, 2) == fine);
    DataType out[2] = {DataType::kBOOL, DataType::kBOOL};
    const DataType in[2] = {type, type};
    CHECK(!warp.build->getOutputDataTypes(out, 2, in, 2) && out[0] == type && out[1] == type);
    Made labels = make("LabelUpsampleInt8", "gsvnet");
    CHECK(!labels.build->getOutputDataTypes(out, 1, in, 1) && out[0] == DataType::kINT8);
  }
}

void check_run() {
  Finder given;
  setLoggerFinder(&given);
  const auto run = [&] {  // several contexts at once, each on its own clone
    Made made = make("SegmentationWarp", "gsvnet");
    Made attached(made.runtime->attachToContext(nullptr));
    std::vector<float> scores(2 * 3 * 4 * 5), flow(2 * 2 * 4 * 5), warped(scores.size()), edges(2 * 4 * 5, -1);
    for (size_t i = 0; i < scores.size(); ++i) scores[i] = static_cast<float>(i * 7 % 13);
    const DynamicPluginTensorDesc in[] = {tensor({2, 3, 4, 5}, DataType::kFLOAT), tensor({2, 2, 4, 5}, DataType::kFLOAT)};
    const DynamicPluginTensorDesc out[] = {tensor({2, 3, 4, 5}, DataType::kFLOAT), tensor({2, 1, 4, 5}, DataType::kFLOAT)};
    CHECK(!made.build->configurePlugin(in, 2, out, 2));
    std::vector<uint8_t> scratch(made.build->getWorkspaceSize(in, 2, out, 2));
    CHECK(scratch.size() == 2 * 4 * 5);
    const PluginTensorDesc ins[] = {in[0].desc, in[1].desc}, outs[] = {out[0].desc, out[1].desc};
    const void* const from[] = {scores.data(), flow.data()};
    void* const to[] = {warped.data(), edges.data()};
    for (int i = 0; i < 20; ++i) {
      CHECK(!attached.runtime->onShapeChange(ins, 2, outs, 2));
      CHECK(!attached.runtime->enqueue(ins, outs, from, to, scratch.data(), nullptr));
      CHECK(warped == scores && edges[0] >= 0 && edges.back() >= 0);
    }
  };
  std::vector<std::thread> contexts;
  for (int i = 0; i < 3; ++i) contexts.emplace_back(run);
  for (std::thread& context : contexts) context.join();

  Made filter = make("GuidedFilter", "gsvnet");
  const PluginTensorDesc scores = tensor({1, 3, 4, 5}, DataType::kFLOAT).desc;
  const PluginTensorDesc ins[] = {scores, scores, tensor({1, 12, 4, 5}, DataType::kFLOAT).desc};
  CHECK(filter.runtime->onShapeChange(ins, 3, &scores, 1) != 0);
  CHECK(given.logger.last == "weights must be [N,10,h,w] or [N,18,h,w]");

  Made labels = make("LabelUpsampleInt8", "");
  const PluginTensorDesc in = tensor({1, 3, 4, 5}, DataType::kHALF).desc, out = tensor({1, 9, 11}, DataType::kINT8).desc;
  std::vector<uint16_t> half(3 * 4 * 5);
  for (size_t i = 40; i < half.size(); ++i) half[i] = 0x3c00;  // the last class leads everywhere
  std::vector<uint8_t> bytes(9 * 11);
  const void* const from[] = {half.data()};
  void* const to[] = {bytes.data()};
  CHECK(!labels.runtime->onShapeChange(&in, 1, &out, 1) && !labels.runtime->enqueue(&in, &out, from, to, nullptr, nullptr));
  CHECK(bytes == std::vector<uint8_t>(9 * 11, 2));
  setLoggerFinder(nullptr);
}

}  // namespace

int main() {
  check_shapes();
  check_types();
  check_run();
  std::printf("as TensorRT asks\n");
}
