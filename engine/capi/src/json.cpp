#include "json.h"

#include <algorithm>
#include <charconv>
#include <limits>
#include <unordered_map>

namespace gsvnet::engine {
namespace {

constexpr int kDeepest = 200;            // levels; a manifest has five. Recursion must not exhaust the stack
constexpr size_t kLongestNumber = 4300;  // digits; Python's own limit

class Parser {
 public:
  explicit Parser(std::string_view data) : data_(data) {}

  Json whole() {
    if (data_.substr(0, 3) == "\xef\xbb\xbf") at_ = 3;  // a byte order mark
    Json value = parse_value(0);
    skip_space();
    if (at_ != data_.size()) fail("more follows after the value");
    return value;
  }

 private:
  [[noreturn]] void fail(const std::string& problem) const {
    throw JsonError(problem + " at byte " + std::to_string(at_));
  }

  int peek() const { return at_ < data_.size() ? static_cast<unsigned char>(data_[at_]) : -1; }

  void skip_space() {
    while (at_ < data_.size() && (data_[at_] == ' ' || data_[at_] == '\t' || data_[at_] == '\n' || data_[at_] == '\r'))
      ++at_;
  }

  bool take(char expected) {
    if (peek() != static_cast<unsigned char>(expected)) return false;
    ++at_;
    return true;
  }

  bool take_word(std::string_view word) {
    if (data_.substr(at_, word.size()) != word) return false;
    at_ += word.size();
    return true;
  }

  Json parse_value(int depth) {
    if (depth > kDeepest) fail("nested too deeply");
    skip_space();
    Json value;
    if (take('{')) {
      value.kind = Json::Kind::object;
      parse_members(value, depth);
    } else if (take('[')) {
      value.kind = Json::Kind::array;
      parse_items(value, depth);
    } else if (take('"')) {
      value.kind = Json::Kind::text;
      value.text = parse_text();
    } else if (take_word("true") || take_word("false")) {
      value.kind = Json::Kind::boolean;
      value.truth = data_[at_ - 2] == 'u';
    } else if (!take_word("null")) {
      parse_number(value);
    }
    return value;
  }

  void parse_members(Json& value, int depth) {
    std::unordered_map<std::string, size_t> seen;
    skip_space();
    if (take('}')) return;
    do {
      skip_space();
      if (!take('"')) fail("a name in quotes is missing");
      std::string name = parse_text();
      skip_space();
      if (!take(':')) fail("a colon is missing");
      Json member = parse_value(depth + 1);
      const auto [known, fresh] = seen.emplace(name, value.members.size());
      if (fresh)
        value.members.emplace_back(std::move(name), std::move(member));
      else
        value.members[known->second].second = std::move(member);
      skip_space();
    } while (take(','));
    if (!take('}')) fail("a comma or } is missing");
  }

  void parse_items(Json& value, int depth) {
    skip_space();
    if (take(']')) return;
    do {
      value.items.push_back(parse_value(depth + 1));
      skip_space();
    } while (take(','));
    if (!take(']')) fail("a comma or ] is missing");
  }

  void parse_number(Json& value) {
    for (const char* constant : {"NaN", "Infinity", "-Infinity"})
      if (take_word(constant)) throw JsonError(std::string(constant) + " is not a JSON number");
    const size_t begin = at_;
    const auto digits = [this] {
      const size_t first = at_;
      while (peek() >= '0' && peek() <= '9') ++at_;
      return at_ - first;
    };
    take('-');
    const bool zero = peek() == '0';
    const size_t count = digits();
    if (count == 0) fail("a value is missing");
    if (zero && count > 1) fail("a number begins with 0");
    value.kind = Json::Kind::integer;
    if (take('.')) {
      value.kind = Json::Kind::real;
      if (digits() == 0) fail("digits are missing");
    }
    if (take('e') || take('E')) {
      value.kind = Json::Kind::real;
      if (!take('+')) take('-');
      if (digits() == 0) fail("digits are missing");
    }
    if (at_ - begin > kLongestNumber) fail("a number is too long");
    value.text = std::string(data_.substr(begin, at_ - begin));
  }

  std::string parse_text() {
    std::string text;
    while (true) {
      const int byte = peek();
      if (byte < 0) fail("a text is not closed");
      if (byte < 0x20) fail("a control character in a text");
      if (take('"')) return text;
      if (take('\\'))
        parse_escape(text);
      else if (byte < 0x80)
        text += data_[at_++];
      else
        copy_wide(text);
    }
  }

  void parse_escape(std::string& text) {
    static constexpr std::string_view kNames = "\"\\/bfnrt", kMeanings = "\"\\/\b\f\n\r\t";
    const int name = peek();
    ++at_;
    if (name == 'u') {
      append_utf8(text, parse_code_point());
      return;
    }
    const size_t which = name < 0 ? std::string_view::npos : kNames.find(static_cast<char>(name));
    if (which == std::string_view::npos) {
      --at_;
      fail("an unknown escape");
    }
    text += kMeanings[which];
  }

  uint32_t parse_code_point() {
    const uint32_t first = parse_unit();
    if (first < 0xD800 || first > 0xDFFF) return first;
    if (first > 0xDBFF || !take_word("\\u")) fail("half of a surrogate pair");
    const uint32_t second = parse_unit();
    if (second < 0xDC00 || second > 0xDFFF) fail("half of a surrogate pair");
    return 0x10000 + ((first - 0xD800) << 10) + (second - 0xDC00);
  }

  uint32_t parse_unit() {
    uint32_t unit = 0;
    for (int i = 0; i < 4; ++i, ++at_) {
      const int c = peek();
      const int digit = c >= '0' && c <= '9'   ? c - '0'
                        : c >= 'a' && c <= 'f' ? c - 'a' + 10
                        : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                               : -1;
      if (digit < 0) fail("four hexadecimal digits are missing");
      unit = unit * 16 + static_cast<uint32_t>(digit);
    }
    return unit;
  }

  static void append_utf8(std::string& text, uint32_t code) {
    const auto byte = [&text](uint32_t value) { text += static_cast<char>(static_cast<unsigned char>(value)); };
    if (code < 0x80) {
      byte(code);
    } else if (code < 0x800) {
      byte(0xC0 | code >> 6);
      byte(0x80 | (code & 0x3F));
    } else if (code < 0x10000) {
      byte(0xE0 | code >> 12);
      byte(0x80 | (code >> 6 & 0x3F));
      byte(0x80 | (code & 0x3F));
    } else {
      byte(0xF0 | code >> 18);
      byte(0x80 | (code >> 12 & 0x3F));
      byte(0x80 | (code >> 6 & 0x3F));
      byte(0x80 | (code & 0x3F));
    }
  }

  // One character of two to four bytes; overlong forms, surrogates and what lies beyond Unicode are refused.
  void copy_wide(std::string& text) {
    const uint32_t lead = static_cast<uint32_t>(peek());
    const size_t length = lead >= 0xF0 ? 4 : lead >= 0xE0 ? 3 : 2;
    if (lead < 0xC2 || lead > 0xF4 || at_ + length > data_.size()) fail("not UTF-8");
    uint32_t code = lead & (0x7Fu >> length);
    for (size_t i = 1; i < length; ++i) {
      const auto next = static_cast<unsigned char>(data_[at_ + i]);
      if ((next & 0xC0) != 0x80) fail("not UTF-8");
      code = code << 6 | (next & 0x3Fu);
    }
    const uint32_t least = length == 2 ? 0x80 : length == 3 ? 0x800 : 0x10000;
    if (code < least || code > 0x10FFFF || (code >= 0xD800 && code <= 0xDFFF)) fail("not UTF-8");
    text.append(data_.substr(at_, length));
    at_ += length;
  }

  std::string_view data_;
  size_t at_ = 0;
};

void dump_text(const std::string& text, std::string& out) {
  const auto escape = [&out](uint32_t unit) {
    static constexpr char kDigits[] = "0123456789abcdef";
    out += "\\u";
    for (int shift = 12; shift >= 0; shift -= 4) out += kDigits[unit >> shift & 15];
  };
  out += '"';
  for (size_t i = 0; i < text.size();) {
    const auto lead = static_cast<unsigned char>(text[i]);
    const size_t length = lead < 0x80 ? 1 : lead >= 0xF0 ? 4 : lead >= 0xE0 ? 3 : 2;  // parsed: always whole
    uint32_t code = length == 1 ? lead : lead & (0x7Fu >> length);
    for (size_t k = 1; k < length; ++k) code = code << 6 | (static_cast<unsigned char>(text[i + k]) & 0x3Fu);
    i += length;
    static constexpr std::string_view kSpecial = "\"\\\b\f\n\r\t", kNames = "\"\\bfnrt";
    const size_t which = code < 0x80 ? kSpecial.find(static_cast<char>(code)) : std::string_view::npos;
    if (which != std::string_view::npos) {
      out += '\\';
      out += kNames[which];
    } else if (code >= 0x20 && code < 0x7F) {
      out += static_cast<char>(code);
    } else if (code < 0x10000) {
      escape(code);
    } else {
      escape(0xD800 + ((code - 0x10000) >> 10));
      escape(0xDC00 + ((code - 0x10000) & 0x3FF));
    }
  }
  out += '"';
}

void dump_value(const Json& value, std::string& out) {
  switch (value.kind) {
    case Json::Kind::null:
      out += "null";
      break;
    case Json::Kind::boolean:
      out += value.truth ? "true" : "false";
      break;
    case Json::Kind::integer:
    case Json::Kind::real:
      out += value.text;
      break;
    case Json::Kind::text:
      dump_text(value.text, out);
      break;
    case Json::Kind::array:
      out += '[';
      for (size_t i = 0; i < value.items.size(); ++i) {
        if (i) out += ", ";
        dump_value(value.items[i], out);
      }
      out += ']';
      break;
    case Json::Kind::object:
      out += '{';
      for (size_t i = 0; i < value.members.size(); ++i) {
        if (i) out += ", ";
        dump_text(value.members[i].first, out);
        out += ": ";
        dump_value(value.members[i].second, out);
      }
      out += '}';
      break;
  }
}

}  // namespace

Json Json::parse(std::string_view data) { return Parser(data).whole(); }

const Json* Json::find(std::string_view name) const {
  const auto found =
      std::find_if(members.begin(), members.end(), [name](const auto& member) { return member.first == name; });
  return found == members.end() ? nullptr : &found->second;
}

std::optional<int64_t> Json::whole() const {
  int64_t value = 0;
  const char* end = text.data() + text.size();
  if (kind != Kind::integer) return std::nullopt;
  const auto result = std::from_chars(text.data(), end, value);
  if (result.ec != std::errc() || result.ptr != end) return std::nullopt;
  return value;
}

double Json::number() const {
  double value = 0;
  const auto result = std::from_chars(text.data(), text.data() + text.size(), value);
  if (result.ec != std::errc::result_out_of_range) return value;
  // Too large or too small; from_chars leaves the value alone. A negative exponent means the latter.
  const size_t exponent = text.find_first_of("eE");
  const bool tiny = exponent != std::string::npos && exponent + 1 < text.size() && text[exponent + 1] == '-';
  if (tiny) return 0;
  return text[0] == '-' ? -std::numeric_limits<double>::infinity() : std::numeric_limits<double>::infinity();
}

std::string Json::dump() const {
  std::string out;
  dump_value(*this, out);
  return out;
}

}  // namespace gsvnet::engine
