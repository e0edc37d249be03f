// The order between streams, and between them and the host: every edge has a name, as in engine/gsvnet_engine/backends/
// tensorrt/order.py. What one leaves for another is ordered by these and by nothing else; tests link an order.cpp of
// their own that leaves out one at a time, and each is missed.
#pragma once

#include <cstddef>

#include "../cuda/work.h"

namespace gsvnet::tensorrt {

enum class Edge {
  kRefillAfterUpload,    // the host fills a pinned buffer again after it was copied to the device
  kPrepareAfterUpload,   // planes are read after they have arrived
  kPrepareAfterOutside,  // a picture that others write is read after they wrote it
  kDownloadAfterLabels,  // labels come down after they were computed
  kTakeAfterDownload,    // the host reads labels after they came down
  kReturnAfterFailure,   // a push that fails returns after all that it gave to the device is done
  kFreeAfterWork         // memory is freed after all work on it is done
};

// What `stream` is given from now on runs after the event.
void wait(Edge edge, const cuda::Stream& stream, const cuda::Event& event);
// The host goes on after the event.
void settle(Edge edge, const cuda::Event& event);
// The host goes on after all that the stream was given; where the device is lost too.
void drain(Edge edge, const cuda::Stream& stream) noexcept;

// Buffers that are filled while their doubles are in use.
enum class Double { kUpload, kDownload, kState };

// How many there are of each: two.
size_t count(Double which);

}  // namespace gsvnet::tensorrt
