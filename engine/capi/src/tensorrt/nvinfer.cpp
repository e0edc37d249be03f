// TensorRT itself: plan.h in its words. Compiled where its headers are found, against 8.6, 10 or 11, and linked against
// nothing of it: libnvinfer of the headers' major version is loaded at run time.

#include <NvInferRuntime.h>
#include <dlfcn.h>

#include <algorithm>
#include <mutex>
#include <set>

#include "../error.h"
#include "plan.h"

namespace gsvnet::tensorrt {
namespace {

#define GSVNET_TEXT_OF(number) #number
#define GSVNET_TEXT(number) GSVNET_TEXT_OF(number)
constexpr const char* kLibrary = "libnvinfer.so." GSVNET_TEXT(NV_TENSORRT_MAJOR);

// Keeps what went wrong last, and prints nothing.
class Log final : public nvinfer1::ILogger {
 public:
  void log(Severity severity, const char* message) noexcept override {
    if (severity != Severity::kERROR && severity != Severity::kINTERNAL_ERROR) return;
    try {
      std::string line(message);
      std::replace_if(line.begin(), line.end(), [](unsigned char c) { return c < 0x20; }, ' ');
      const std::lock_guard<std::mutex> lock(guard_);
      last_ = line.substr(0, 300);
    } catch (...) {  // memory ran out: the error is told without TensorRT's own words
    }
  }

  std::string last() const {
    const std::lock_guard<std::mutex> lock(guard_);
    return last_;
  }

 private:
  mutable std::mutex guard_;
  std::string last_;
};

engine::Shape shape_of(const nvinfer1::Dims& dims) {
  return {dims.d, dims.d + std::max(static_cast<int>(dims.nbDims), 0)};
}

class NvPlan final : public Plan {
 public:
  NvPlan(std::unique_ptr<nvinfer1::ICudaEngine> engine, std::unique_ptr<nvinfer1::IExecutionContext> context)
      : engine_(std::move(engine)), context_(std::move(context)) {}

  std::vector<std::string> tensors() const override {
    std::vector<std::string> names;
    for (int32_t i = 0; i < engine_->getNbIOTensors(); ++i) names.emplace_back(engine_->getIOTensorName(i));
    return names;
  }

  std::string type(const std::string& tensor) const override {
    const auto type = engine_->getTensorDataType(tensor.c_str());
    if (type == nvinfer1::DataType::kFLOAT) return "float32";
    if (type == nvinfer1::DataType::kHALF) return "float16";
    if (type == nvinfer1::DataType::kINT32) return "int32";
#if NV_TENSORRT_MAJOR >= 10
    if (type == nvinfer1::DataType::kINT64) return "int64";
#endif
    return "type " + std::to_string(static_cast<int>(type));
  }

  bool on_host(const std::string& tensor) const override {
    return engine_->getTensorLocation(tensor.c_str()) == nvinfer1::TensorLocation::kHOST;
  }

  engine::Shape shape(const std::string& tensor) const override {
    return shape_of(context_->getTensorShape(tensor.c_str()));
  }

  bool set_shape(const std::string& tensor, const engine::Shape& shape) override {
    nvinfer1::Dims dims{};
    if (shape.size() > static_cast<size_t>(nvinfer1::Dims::MAX_DIMS)) return false;
    dims.nbDims = static_cast<int32_t>(shape.size());
    for (size_t i = 0; i < shape.size(); ++i) dims.d[i] = static_cast<std::decay_t<decltype(dims.d[0])>>(shape[i]);
    return context_->setInputShape(tensor.c_str(), dims);
  }

  bool set_address(const std::string& tensor, void* address) override {
    return context_->setTensorAddress(tensor.c_str(), address);
  }

  bool enqueue(cuda::Handle stream) override { return context_->enqueueV3(static_cast<cudaStream_t>(stream)); }

 private:
  std::unique_ptr<nvinfer1::ICudaEngine> engine_;  // before its context, which goes first
  std::unique_ptr<nvinfer1::IExecutionContext> context_;
};

// A function of libnvinfer, which stays loaded.
template <typename Function>
Function* function(const char* name) {
  void* const library = dlopen(kLibrary, RTLD_NOW | RTLD_LOCAL);
  void* const found = library ? dlsym(library, name) : nullptr;
  if (!found) {
    const char* const text = dlerror();
    throw engine::backend_error(std::string("tensorrt: ") + kLibrary + " does not load (" +
                                (text ? text : "no reason given") + "): install it where the loader finds it" +
                                " (docs/c.md, GPU)");
  }
  return reinterpret_cast<Function*>(found);
}

class NvRuntime final : public Runtime {
 public:
  NvRuntime() {
    void* const made = function<decltype(createInferRuntime_INTERNAL)>("createInferRuntime_INTERNAL")(
        &log_, NV_TENSORRT_VERSION);
    runtime_.reset(static_cast<nvinfer1::IRuntime*>(made));
    if (!runtime_) throw engine::backend_error("tensorrt: TensorRT does not start: " + log_.last());
  }

  Version version() const override {
    const int32_t number = function<decltype(getInferLibVersion)>("getInferLibVersion")();
    const int32_t major = number < 10000 ? 1000 : 10000;  // 8601, 101303
    return {number / major, number % major / 100, number % 100};
  }

  void load_plugins(const std::string& library) override {
    static std::mutex guard;
    static std::set<std::string> loaded;
    const std::lock_guard<std::mutex> lock(guard);
    if (loaded.count(library)) return;
    if (!function<decltype(getPluginRegistry)>("getPluginRegistry")()->loadLibrary(library.c_str()))
      throw engine::backend_error("tensorrt: " + library + " does not load as a plugin library: " + log_.last());
    loaded.insert(library);
  }

  std::unique_ptr<Plan> load(const std::string& plan) override {
    std::unique_ptr<nvinfer1::ICudaEngine> engine(runtime_->deserializeCudaEngine(plan.data(), plan.size()));
    if (!engine) return nullptr;
    std::unique_ptr<nvinfer1::IExecutionContext> context(engine->createExecutionContext());
    if (!context) return nullptr;
    return std::make_unique<NvPlan>(std::move(engine), std::move(context));
  }

  std::string last_error() const override { return log_.last(); }

 private:
  Log log_;
  std::unique_ptr<nvinfer1::IRuntime> runtime_;
};

}  // namespace

std::unique_ptr<Runtime> load_runtime() { return std::make_unique<NvRuntime>(); }

}  // namespace gsvnet::tensorrt
