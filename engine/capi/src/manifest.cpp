#include "manifest.h"

#include <algorithm>
#include <cstdio>

#include "error.h"
#include "json.h"

namespace gsvnet::engine {
namespace {

constexpr int64_t kFormatVersion = 1;
constexpr int64_t kLargestCount = 1'000'000'000'000'000'000;  // of parameters or multiply-accumulates
constexpr int64_t kLongestInterval = 1000;
constexpr size_t kLongestText = 10000;
constexpr std::string_view kRequired[] = {kKeyframe, kPropagate, kLabels, kPropagatePlain, kLabelsPlain};
constexpr std::string_view kAllowed[] = {kKeyframe, kPropagate, kLabels, kPropagatePlain, kLabelsPlain, kWarpPlain};

std::string quoted(std::string_view text) { return "'" + std::string(text) + "'"; }

// A value in a message: ASCII, so that nothing in it can play with a terminal, and short.
std::string shown(const Json& value) {
  std::string text = value.dump();
  return text.size() <= 60 ? text : text.substr(0, 57) + "...";
}

// A name from the file, in ASCII too.
std::string shown_name(const std::string& name) {
  Json text;
  text.kind = Json::Kind::text;
  text.text = name;
  const std::string dumped = text.dump();
  return dumped.substr(1, dumped.size() - 2);
}

// Characters that could rewrite a terminal's line or hide: controls, line separators, marks of writing direction,
// private use. Python asks str.isprintable, whose tables this does without.
bool printable(const std::string& text) {
  for (size_t i = 0; i < text.size();) {
    const auto lead = static_cast<unsigned char>(text[i]);
    const size_t length = lead < 0x80 ? 1 : lead >= 0xF0 ? 4 : lead >= 0xE0 ? 3 : 2;
    uint32_t code = length == 1 ? lead : lead & (0x7Fu >> length);
    for (size_t k = 1; k < length; ++k) code = code << 6 | (static_cast<unsigned char>(text[i + k]) & 0x3Fu);
    i += length;
    const auto within = [code](uint32_t first, uint32_t last) { return code >= first && code <= last; };
    if (within(0, 0x1F) || within(0x7F, 0xA0) || code == 0xAD || code == 0x61C || within(0x2000, 0x200F) ||
        within(0x2028, 0x202F) || within(0x205F, 0x206F) || code == 0x3000 || within(0xE000, 0xF8FF) ||
        within(0xFDD0, 0xFDEF) || code == 0xFEFF || within(0xFFF0, 0xFFFB) || within(0xE0000, 0x10FFFF) ||
        (code & 0xFFFE) == 0xFFFE)
      return false;
  }
  return true;
}

bool blank(const std::string& text) { return text.find_first_not_of(' ') == std::string::npos; }

std::string number_text(double value) {
  char buffer[32];
  std::snprintf(buffer, sizeof buffer, "%g", value);
  return buffer;
}

std::string range_text(int64_t least, int64_t most) { return std::to_string(least) + ".." + std::to_string(most); }

// Typed access to one JSON value. `where` is the file and the keys that led to it: each failure starts with it.
class Reader {
 public:
  Reader(std::string where, const Json& value) : where_(std::move(where)), value_(&value) {}

  [[noreturn]] void fail(const std::string& problem) const { throw bundle_error(where_ + ": " + problem); }
  [[noreturn]] void fail(std::string_view key, const std::string& problem) const {
    throw bundle_error(where_ + ": " + std::string(key) + ": " + problem);
  }

  const std::vector<std::pair<std::string, Json>>& members() const {
    if (value_->kind != Json::Kind::object) fail("must be an object {...}, not " + shown(*value_));
    return value_->members;
  }

  bool has(std::string_view key) const { return members(), value_->find(key) != nullptr; }

  const Json& get(std::string_view key) const {
    if (!has(key)) fail("lacks " + quoted(key) + "; export the bundle again");
    return *value_->find(key);
  }

  Reader inner(std::string_view key) const { return Reader(where_ + ": " + std::string(key), get(key)); }

  Reader object(std::string_view key) const {
    Reader found = inner(key);
    found.members();
    return found;
  }

  std::vector<Reader> array(std::string_view key, size_t fewest, size_t most) const {
    const Json& value = get(key);
    if (value.kind != Json::Kind::array || value.items.size() < fewest || value.items.size() > most)
      fail(key, "must be a list of " + std::to_string(fewest) + " to " + std::to_string(most) + " entries, not " +
                    shown(value));
    std::vector<Reader> readers;
    for (size_t i = 0; i < value.items.size(); ++i)
      readers.emplace_back(where_ + ": " + std::string(key) + "[" + std::to_string(i) + "]", value.items[i]);
    return readers;
  }

  std::string text(std::string_view key) const { return inner(key).whole_text(); }

  std::string whole_text() const {
    const std::string& text = value_->text;
    if (value_->kind != Json::Kind::text || blank(text) || text.size() > kLongestText || !printable(text))
      fail("must be a line of text, not " + shown(*value_));
    return text;
  }

  std::string choice(std::string_view key, std::initializer_list<const char*> allowed) const {
    const Json& value = get(key);
    std::string names;
    for (const char* name : allowed) {
      if (value.kind == Json::Kind::text && value.text == name) return name;
      names += (names.empty() ? "" : ", ") + std::string(name);
    }
    fail(key, "must be one of " + names + ", not " + shown(value));
  }

  int64_t integer(std::string_view key, int64_t least, int64_t most) const { return whole(key, get(key), least, most); }

  std::vector<int64_t> integers(std::string_view key, size_t count, int64_t least, int64_t most) const {
    const Json& value = get(key);
    if (value.kind != Json::Kind::array || value.items.size() != count)
      fail(key, "must be a list of " + std::to_string(count) + " whole numbers, not " + shown(value));
    std::vector<int64_t> numbers;
    for (const Json& item : value.items) numbers.push_back(whole(key, item, least, most));
    return numbers;
  }

  double number(std::string_view key, double least, double most) const { return inner(key).only_number(least, most); }

  double only_number(double least, double most) const {
    const bool is_number = value_->kind == Json::Kind::integer || value_->kind == Json::Kind::real;
    const double value = is_number ? value_->number() : 0;
    if (!is_number || !(least <= value && value <= most))
      fail("must be a number in " + number_text(least) + ".." + number_text(most) + ", not " + shown(*value_));
    return value;
  }

  // An object of numbers by interval, as in {"1": 71.1, "4": 68.6}. Whether it has interval 1.
  bool check_by_interval(std::string_view key, double least, double most) const {
    const Reader values = object(key);
    bool has_first = false;
    for (const auto& [name, value] : values.members()) {
      const bool digits = !name.empty() && name.size() <= 4 && name[0] != '0' &&
                          std::all_of(name.begin(), name.end(), [](char c) { return c >= '0' && c <= '9'; });
      if (!digits || std::stoi(name) > kLongestInterval)
        values.fail(shown_name(name), "is no interval; the keys must be whole numbers in " +
                                          range_text(1, kLongestInterval) + ", as in {\"1\": 71.1}");
      values.number(name, least, most);
      has_first = has_first || name == "1";
    }
    return has_first;
  }

 private:
  int64_t whole(std::string_view key, const Json& value, int64_t least, int64_t most) const {
    const auto number = value.whole();
    if (!number || *number < least || *number > most)
      fail(key, "must be a whole number in " + range_text(least, most) + ", not " + shown(value));
    return *number;
  }

  std::string where_;
  const Json* value_;
};

std::vector<ClassInfo> read_classes(const Reader& top) {
  std::vector<ClassInfo> classes;
  for (const Reader& item : top.array("classes", 2, 256)) {
    ClassInfo info;
    info.name = item.text("name");
    const std::vector<int64_t> color = item.integers("color", 3, 0, 255);
    for (size_t i = 0; i < 3; ++i) info.color[i] = static_cast<uint8_t>(color[i]);
    for (const ClassInfo& other : classes)
      if (other.name == info.name)
        top.fail("classes", "names " + quoted(info.name) + " twice; each class needs a name of its own");
    classes.push_back(std::move(info));
  }
  return classes;
}

WorkingSize read_working_size(const Reader& top) {
  const Json& rule = top.get("working_size");
  if (rule.kind == Json::Kind::text && rule.text == "source") return {};
  if (rule.kind != Json::Kind::object)
    top.fail("working_size", "must be \"source\" or {\"short_side\": pixels}, not " + shown(rule));
  return {top.object("working_size").integer("short_side", 8, kLargestSide)};
}

KeyframeSize read_keyframe_size(const Reader& rule) {
  KeyframeSize size;
  if (rule.has("size")) {
    const std::vector<int64_t> fixed = rule.integers("size", 2, 8, kLargestSide);
    size.fixed = {fixed[0], fixed[1]};
    return size;
  }
  const std::vector<int64_t> scale = rule.integers("scale", 2, 1, 10000);
  size.numerator = scale[0], size.denominator = scale[1];
  if (size.numerator > 4 * size.denominator)
    rule.fail("scale", "is " + std::to_string(scale[0]) + "/" + std::to_string(scale[1]) + "; at most 4 is allowed");
  size.multiple = rule.integer("multiple", 1, 512);
  return size;
}

void check_cost(const Reader& cost) {
  cost.integers("at", 2, 1, kLargestSide);
  for (const char* kind : {"parameters", "macs"})
    for (const char* part : {"keyframe", "propagate"}) cost.object(kind).integer(part, 0, kLargestCount);
}

void check_accuracy(const Reader& accuracy) {
  if (!accuracy.has("intervals")) return;
  const Reader stated = accuracy.object("intervals");
  if (!stated.check_by_interval("average_miou", 0, 100))
    stated.fail("average_miou", "lacks interval \"1\", which the others are compared with");
  stated.text("dataset");
  if (stated.has("minimum_miou")) stated.check_by_interval("minimum_miou", 0, 100);
  if (accuracy.has("speed_up")) accuracy.check_by_interval("speed_up", 0, 1000);
}

void check_familiarity(const Reader& stated) {
  if (stated.text("statistic") != "mean_confidence") return;  // of a later version: its numbers may mean anything
  std::vector<double> usual;
  for (const Reader& value : stated.array("usual", 2, 2)) usual.push_back(value.only_number(0, 1));
  if (usual[0] > usual[1]) stated.fail("usual", "must be [lowest, highest], not " + shown(stated.get("usual")));
  stated.number("threshold", 0, 1);
}

std::vector<std::pair<std::string, std::string>> read_graphs(const Reader& graphs) {
  std::vector<std::pair<std::string, std::string>> hashes;
  for (const auto& [name, value] : graphs.members()) {
    if (std::find(std::begin(kAllowed), std::end(kAllowed), name) == std::end(kAllowed)) {
      std::string names;
      for (const std::string_view allowed : kAllowed) names += (names.empty() ? "" : ", ") + std::string(allowed);
      graphs.fail("names " + quoted(shown_name(name)) + "; only these may stand there: " + names);
    }
    std::string hash = graphs.text(name);
    for (char& c : hash)
      if (c >= 'A' && c <= 'F') c = static_cast<char>(c - 'A' + 'a');
    if (hash.size() != 64 || hash.find_first_not_of("0123456789abcdef") != std::string::npos)
      graphs.fail(name, "must be a sha256 (64 hexadecimal digits)");
    hashes.emplace_back(name, std::move(hash));
  }
  for (const std::string_view required : kRequired)
    if (!graphs.has(required)) graphs.fail("lacks " + std::string(required) + "; export the bundle again");
  return hashes;
}

Json parsed(const std::string& where, std::string_view data) {
  try {
    return Json::parse(data);
  } catch (const JsonError& error) {
    throw bundle_error(where + ": is not JSON (" + error.what() + "); copy the bundle anew or export it again");
  }
}

}  // namespace

Manifest read_manifest(const std::string& where, std::string_view data) {
  const Json json = parsed(where, data);
  const Reader top(where, json);
  const int64_t version = top.integer("format_version", 1, kLargestCount);
  if (version > kFormatVersion)
    top.fail("format_version", "is " + std::to_string(version) + " and this libgsvnet reads up to " +
                                   std::to_string(kFormatVersion) + "; update gsvnet-engine");
  Manifest manifest;
  manifest.name = top.text("name");
  manifest.classes = read_classes(top);
  manifest.working_size = read_working_size(top);
  manifest.keyframe_size = read_keyframe_size(top.object("keyframe_size"));
  manifest.precision = top.choice("precision", {"fp32", "fp16", "int8"});
  if (top.has("conversion")) top.object("conversion");
  manifest.interval = static_cast<int32_t>(top.integer("interval", 1, kLongestInterval));
  manifest.license = top.text("license");
  for (const Reader& item : top.array("trained_on", 0, 1000)) item.whole_text();
  check_accuracy(top.object("accuracy"));
  if (top.has("familiarity")) check_familiarity(top.object("familiarity"));
  if (top.has("cost")) check_cost(top.object("cost"));
  manifest.graphs = read_graphs(top.object("graphs"));
  return manifest;
}

}  // namespace gsvnet::engine
