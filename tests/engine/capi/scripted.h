// A backend of a few lines of arithmetic in the place of an inference runtime: what a test sees wrong is the library's.
#pragma once

#include <atomic>

#include "backend.h"

namespace scripted {

extern std::atomic<int> alive;       // networks that exist now
extern std::atomic<int> loads;       // how often any were made
extern std::atomic<bool> fail_load;  // the next ones cannot be made
extern std::atomic<bool> fail_run;   // the next run fails

std::unique_ptr<gsvnet::engine::Backend> make(const gsvnet::engine::BackendOptions& options);

// What its networks compute. A keyframe: the nearest pixel's mixture. Propagated: half of what was, plus what changed;
// so that a stale state or frames in the wrong order show as other labels.
void keyframe(int64_t classes, gsvnet::engine::Size picture, gsvnet::engine::Size grid, const float* frame,
              float* scores);
void propagate(int64_t classes, gsvnet::engine::Size grid, const float* current, const float* previous,
               const float* scores, float* propagated);

}  // namespace scripted
