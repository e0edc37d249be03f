// A backend of a few lines of arithmetic in the place of an inference runtime: what a test sees wrong is the library's.
#pragma once

#include <atomic>

namespace scripted {

extern std::atomic<int> alive;       // networks that exist now
extern std::atomic<int> loads;       // how often any were made
extern std::atomic<bool> fail_load;  // the next ones cannot be made
extern std::atomic<bool> fail_run;   // the next run fails

}  // namespace scripted
