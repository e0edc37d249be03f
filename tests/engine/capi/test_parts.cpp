// Parts that have no Python twin, or corners that random comparison (test_parts.py) does not reach.

#include <cmath>
#include <string>

#include "check.h"
#include "error.h"
#include "json.h"
#include "ports.h"
#include "sha256.h"
#include "toy.h"

using namespace gsvnet::engine;

namespace {

void sha256_of_nothing_and_of_a_million() {
  CHECK(Sha256().hex() == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  Sha256 hash;
  for (int i = 0; i < 1000; ++i) hash.add(std::string(1000, 'a').data(), 1000);
  CHECK(hash.hex() == "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
}

void json_numbers_of_any_size() {
  CHECK(Json::parse("12").whole() == 12);
  CHECK(Json::parse("-0").whole() == 0);
  CHECK(!Json::parse("1.0").whole());
  CHECK(!Json::parse("9223372036854775808").whole());
  CHECK(Json::parse("1e400").number() == INFINITY);
  CHECK(Json::parse("-1e400").number() == -INFINITY);
  CHECK(Json::parse("1e-400").number() == 0);
}

void json_refuses(const char* text, const char* why) {
  try {
    Json::parse(text);
  } catch (const JsonError& error) {
    CHECK_CONTAINS(error.what(), why);
    return;
  }
  throw Failure(std::string(text) + " was taken for JSON");
}

void json_says_why_not() {
  json_refuses("[1,]", "a value is missing at byte 3");
  json_refuses("{\"a\" 1}", "a colon is missing at byte 5");
  json_refuses("\"\\ud800\"", "half of a surrogate pair");
  json_refuses("\"\xc0\xaf\"", "not UTF-8");      // an overlong slash
  json_refuses("\"\xed\xa0\x80\"", "not UTF-8");  // a surrogate
  json_refuses("01", "a number begins with 0");
  json_refuses("{} {}", "more follows");
  json_refuses(std::string(100000, '[').c_str(), "nested too deeply");
}

Bundle toy_bundle() {
  static const toy::Folder folder;
  toy::write_bundle(folder);
  return Bundle(folder.path(), {kKeyframe});
}

std::string refused(const std::vector<Port>& inputs, const std::vector<Port>& outputs, const Signature& expected) {
  try {
    check_ports("graph", inputs, outputs, expected);
  } catch (const Error& error) {
    CHECK(error.status() == GSVNET_ERROR_BUNDLE);
    return error.what();
  }
  return "";
}

void ports_must_agree() {
  const Bundle bundle = toy_bundle();
  const Sizes sizes = bundle.plan({64, 96});
  const Signature expected = keyframe_signature(bundle, sizes);
  const Port frame{"frame", Shape{-1, 3, -1, -1}, "float32"}, grid{"grid", Shape{2}, "int64"};
  const Port scores{"scores", Shape{1, 4, 8, 12}, "float32"};
  CHECK(refused({frame, grid}, {scores}, expected).empty());
  CHECK(refused({grid, {"frame", {}, "float32"}}, {scores}, expected).empty());
  CHECK_CONTAINS(refused({frame}, {scores}, expected), "its inputs are frame, not frame, grid");
  CHECK_CONTAINS(refused({frame, grid}, {}, expected), "its outputs are none, not scores");
  CHECK_CONTAINS(refused({frame, {"grid", Shape{2}, "float32"}}, {scores}, expected), "grid is float32, not int64");
  CHECK_CONTAINS(refused({frame, grid}, {{"scores", Shape{1, 5, 8, 12}, "float32"}}, expected),
                 "scores has shape [1,5,8,12] where the manifest's classes and sizes make it [1,4,8,12]");
  CHECK_CONTAINS(refused({{"frame", Shape{3, -1, -1}, "float32"}, grid}, {scores}, expected), "shape [3,?,?]");
  CHECK(propagate_signature(bundle, sizes, kPropagatePlain).inputs[2].shape == (Shape{1, 4, 8, 12}));
}

void a_graph_that_was_not_kept_is_a_fault_of_ours() {
  try {
    toy_bundle().graph(kLabels);
  } catch (const Error& error) {
    CHECK(error.status() == GSVNET_ERROR_INTERNAL);
    return;
  }
  throw Failure("it was there");
}

}  // namespace

int main() {
  return run_all({{"sha256 of nothing and of a million", sha256_of_nothing_and_of_a_million},
                  {"json numbers of any size", json_numbers_of_any_size},
                  {"json says why not", json_says_why_not},
                  {"ports must agree", ports_must_agree},
                  {"a graph that was not kept is a fault of ours", a_graph_that_was_not_kept_is_a_fault_of_ours}});
}
