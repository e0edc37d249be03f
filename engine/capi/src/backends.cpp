#include "backend.h"

#ifdef GSVNET_WITH_OPENVINO
#include "openvino.h"
#endif
#ifdef GSVNET_WITH_TENSORRT
#include "tensorrt/backend.h"
#endif

namespace gsvnet::engine {

const std::vector<BackendEntry>& backends() {
  static const std::vector<BackendEntry> all = {
#ifdef GSVNET_WITH_TENSORRT
      {"tensorrt", tensorrt::make_tensorrt},
#endif
#ifdef GSVNET_WITH_OPENVINO
      {"openvino", make_openvino},
#endif
  };
  return all;
}

}  // namespace gsvnet::engine
