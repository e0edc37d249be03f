// A test program is functions named by what they hold true, and a main that runs them. The first failed check of a
// function is told; the program's exit code says whether any failed.
#pragma once

#include <cstdio>
#include <exception>
#include <stdexcept>
#include <string>
#include <vector>

struct Failure : std::runtime_error {
  using std::runtime_error::runtime_error;
};

#define CHECK(condition)                                                                                       \
  do {                                                                                                         \
    if (!(condition)) throw Failure(std::string(__FILE__) + ":" + std::to_string(__LINE__) + ": " #condition); \
  } while (false)

#define CHECK_CONTAINS(text, part)                                                             \
  do {                                                                                         \
    const std::string found_ = (text);                                                         \
    if (found_.find(part) == std::string::npos)                                                \
      throw Failure(std::string(__FILE__) + ":" + std::to_string(__LINE__) + ": \"" + found_ + \
                    "\" does not contain \"" + std::string(part) + "\"");                      \
  } while (false)

struct Test {
  const char* name;
  void (*run)();
};

inline int run_all(const std::vector<Test>& tests) {
  int failed = 0;
  for (const Test& test : tests) try {
      test.run();
      std::printf("ok   %s\n", test.name);
    } catch (const std::exception& failure) {
      std::printf("FAIL %s\n     %s\n", test.name, failure.what());
      ++failed;
    }
  std::printf("%d passed, %d failed\n", static_cast<int>(tests.size()) - failed, failed);
  return failed ? 1 : 0;
}
