#include "plan_cache.h"

#include <fcntl.h>
#include <pwd.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <vector>

#include "../sha256.h"

namespace gsvnet::tensorrt {
namespace {

using engine::Json;
using Members = decltype(Json::members);

Json text(const std::string& value) {
  Json json;
  json.kind = Json::Kind::text, json.text = value;
  return json;
}

Json integers(const engine::Shape& values) {
  Json json;
  json.kind = Json::Kind::array;
  for (const int64_t value : values) {
    Json item;
    item.kind = Json::Kind::integer, item.text = std::to_string(value);
    json.items.push_back(item);
  }
  return json;
}

// With its names in alphabetical order, as json.dumps(sort_keys=True) writes it.
Json object(Members members) {
  std::sort(members.begin(), members.end(), [](const auto& a, const auto& b) { return a.first < b.first; });
  Json json;
  json.kind = Json::Kind::object, json.members = std::move(members);
  return json;
}

Json sorted(Json json) {
  for (auto& [name, member] : json.members) member = sorted(std::move(member));
  return json.kind == Json::Kind::object ? object(std::move(json.members)) : json;
}

std::string digest_of(const std::string& data) {
  engine::Sha256 hash;
  hash.add(data.data(), data.size());
  return hash.hex();
}

std::optional<std::string> read_file(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) return std::nullopt;
  std::string data((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
  return file.bad() ? std::nullopt : std::optional(std::move(data));
}

// The sidecar; an empty object where there is none that can be read.
Json read_sidecar(const std::string& path) {
  const std::optional<std::string> data = read_file(path);
  try {
    return data ? Json::parse(*data) : Json();
  } catch (const engine::JsonError&) {
    return Json();
  }
}

// ASCII letters, digits, full stops and underscores; any other character becomes a hyphen.
std::string file_safe(const std::string& name) {
  const auto plain = [](char c) {
    return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || c == '.' || c == '_';
  };
  std::string safe;
  for (const char c : name)
    if ((static_cast<unsigned char>(c) & 0xC0) != 0x80) safe += plain(c) ? c : '-';  // a character of UTF-8 once
  return safe;
}

bool ends_with(const std::string& name, const std::string& end) {
  return name.size() >= end.size() && name.compare(name.size() - end.size(), end.size(), end) == 0;
}

std::string words(const Json* value) {
  if (!value) return "None";
  if (value->kind != Json::Kind::array) return value->text;
  std::string all;
  for (const Json& item : value->items) all += (all.empty() ? "" : ".") + item.text;
  return all;
}

}  // namespace

Json PlanKey::json() const {
  Members shapes;
  for (const engine::Named& input : signature.inputs) shapes.emplace_back(input.name, integers(input.shape));
  for (const engine::Named& value : signature.constants) shapes.emplace_back(value.name, integers(value.shape));
  return object({{"bundle", text(bundle)},
                 {"graph", text(signature.graph)},
                 {"graph_sha256", text(graph_sha256)},
                 {"plugin_sha256", text(plugin_sha256)},
                 {"tensorrt", text(tensorrt)},
                 {"road", text(road)},
                 {"capability", integers({capability.first, capability.second})},
                 {"gpu", text(gpu)},
                 {"precision", text(precision)},
                 {"shapes", object(std::move(shapes))}});
}

std::string PlanKey::subject() const {
  std::string graph = signature.graph;
  if (ends_with(graph, ".onnx")) graph.resize(graph.size() - 5);
  std::replace(graph.begin(), graph.end(), '.', '-');
  const engine::Shape& first = signature.inputs.front().shape;
  return file_safe(bundle) + "-" + graph + "-" + std::to_string(first[first.size() - 2]) + "x" +
         std::to_string(first.back());
}

std::string PlanKey::stem() const { return subject() + "-" + digest_of(json().dump()).substr(0, 16); }

std::optional<std::string> PlanCache::get(const PlanKey& key) const {
  const std::string path = plans_ + "/" + key.stem();
  const Json sidecar = read_sidecar(path + ".json");
  const Json *own = sidecar.find("key"), *hash = sidecar.find("plan_sha256");
  if (!own || !hash || sorted(*own).dump() != key.json().dump()) return std::nullopt;
  std::optional<std::string> plan = read_file(path + ".plan");
  if (!plan || digest_of(*plan) != hash->text) return std::nullopt;
  ::utimensat(AT_FDCWD, (path + ".plan").c_str(), nullptr, 0);  // in use: what lies unused for longest is dropped first
  return plan;
}

std::optional<std::string> PlanCache::why_stale(const PlanKey& key) const {
  std::optional<std::filesystem::file_time_type> latest;
  Json before;
  std::error_code problem;
  for (const auto& entry : std::filesystem::directory_iterator(plans_, problem)) {
    const std::string file = entry.path().filename().string(), stem = file.substr(0, file.rfind('.'));
    if (!ends_with(file, ".plan") || stem.substr(0, stem.rfind('-')) != key.subject()) continue;
    const auto used = entry.last_write_time(problem);
    if (problem || (latest && used <= *latest)) continue;
    const Json sidecar = read_sidecar(plans_ + "/" + stem + ".json");
    latest = used, before = sidecar.find("key") ? *sidecar.find("key") : Json();
  }
  if (!latest) return std::nullopt;
  std::string changes;
  for (const auto& [name, now] : key.json().members) {
    const Json* const then = before.find(name);
    if (then && sorted(*then).dump() == now.dump()) continue;
    changes += changes.empty() ? "" : "; ";
    if (ends_with(name, "_sha256"))
      changes += name.substr(0, name.size() - 7) + " changed";
    else if (name == "shapes")
      changes += "shapes changed";
    else
      changes += name + " " + words(then) + ", now " + words(&now);
  }
  return changes.empty() ? "it was damaged" : changes;
}

std::string default_cache() {
  std::vector<char> buffer(1 << 16);
  passwd entry{}, *found = nullptr;
  if (::getpwuid_r(::getuid(), &entry, buffer.data(), buffer.size(), &found) || !found || !*found->pw_dir)
    throw engine::backend_error("tensorrt: this user has no home folder to look for plans in: set options.plan_cache");
  return std::string(found->pw_dir) + "/.cache/gsvnet-engine";
}

std::string sha256_of_file(const std::string& path) {
  const std::optional<std::string> data = read_file(path);
  if (!data)
    throw engine::backend_error("tensorrt: " + path + " cannot be read; set options.plugins to a library's path");
  return digest_of(*data);
}

}  // namespace gsvnet::tensorrt
