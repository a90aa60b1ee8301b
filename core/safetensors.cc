#include "core/safetensors.h"

#include <algorithm>
#include <cstring>
#include <nlohmann/json.hpp>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "core/file.h"

namespace muster {

std::string SafetensorsHeader(const Layout& layout, const std::map<std::string, std::string>& metadata) {
  nlohmann::ordered_json header;
  if (!metadata.empty()) header["__metadata__"] = metadata;
  for (const Layout::Entry& entry : layout.entries) {
    const int64_t begin = entry.offset * 4;
    header[entry.name] = {
        {"dtype", "F32"}, {"shape", entry.shape}, {"data_offsets", {begin, begin + entry.size() * 4}}};
  }
  std::string text = layout.entries.empty() && metadata.empty() ? "{}" : header.dump();
  text.append((8 - text.size() % 8) % 8, ' ');  // data starts aligned
  const uint64_t length = text.size();
  return std::string(reinterpret_cast<const char*>(&length), 8) + text;
}

std::string ToSafetensors(const Layout& layout, std::span<const float> values,
                          const std::map<std::string, std::string>& metadata) {
  const std::string header = SafetensorsHeader(layout, metadata);
  std::string bytes;
  bytes.reserve(header.size() + values.size_bytes());
  bytes.append(header);
  bytes.append(reinterpret_cast<const char*>(values.data()), values.size_bytes());
  return bytes;
}

absl::StatusOr<NamedTensors> ParseSafetensors(std::string_view bytes, std::string_view name) {
  const auto bad = [name](const std::string& what) {
    return InvalidInput(absl::StrCat(std::string(name), ": not a usable safetensors file: ", what));
  };
  if (bytes.size() < 8) return bad("shorter than its 8-byte header length");
  uint64_t length = 0;
  std::memcpy(&length, bytes.data(), 8);
  if (length > bytes.size() - 8) return bad("the header is cut off");
  const nlohmann::json header =
      nlohmann::json::parse(bytes.substr(8, length), nullptr, /*allow_exceptions=*/false);
  if (!header.is_object()) return bad("the header is not a JSON object");
  const std::string_view data = bytes.substr(8 + length);
  NamedTensors result;
  std::vector<std::pair<uint64_t, uint64_t>> ranges;
  for (const auto& [key, value] : header.items()) {
    if (key == "__metadata__") {
      if (!value.is_object()) return bad("__metadata__ is not an object");
      for (const auto& [k, v] : value.items()) {
        if (v.is_string()) result.metadata[k] = v.get<std::string>();
      }
      continue;
    }
    if (!value.is_object() || !value.contains("dtype") || !value.contains("shape") ||
        !value.contains("data_offsets")) {
      return bad(absl::StrCat("tensor '", key, "' lacks dtype, shape or data_offsets"));
    }
    if (value["dtype"] != "F32") return bad(absl::StrCat("tensor '", key, "' is not F32"));
    const auto& offsets = value["data_offsets"];
    if (!offsets.is_array() || offsets.size() != 2 || !offsets[0].is_number_unsigned() ||
        !offsets[1].is_number_unsigned() || !value["shape"].is_array()) {
      return bad(absl::StrCat("tensor '", key, "' has a malformed shape or data_offsets"));
    }
    const uint64_t begin = offsets[0].get<uint64_t>(), end = offsets[1].get<uint64_t>();
    if (begin > end || end > data.size())
      return bad(absl::StrCat("tensor '", key, "' lies outside the file"));
    uint64_t count = 1;
    NamedTensors::Tensor tensor;
    for (const auto& extent : value["shape"]) {
      if (!extent.is_number_unsigned()) return bad(absl::StrCat("tensor '", key, "' has a malformed shape"));
      const uint64_t n = extent.get<uint64_t>();
      if (n != 0 && count > data.size() / n)
        return bad(absl::StrCat("tensor '", key, "' is larger than the file"));
      count *= n;
      tensor.shape.push_back(static_cast<int64_t>(n));
    }
    if (count * 4 != end - begin)
      return bad(absl::StrCat("tensor '", key, "': shape and data_offsets disagree"));
    tensor.values.resize(count);
    if (count > 0) std::memcpy(tensor.values.data(), data.data() + begin, end - begin);
    if (begin != end) ranges.emplace_back(begin, end);
    result.tensors[key] = std::move(tensor);
  }
  std::sort(ranges.begin(), ranges.end());
  for (size_t i = 1; i < ranges.size(); ++i) {
    if (ranges[i].first < ranges[i - 1].second) return bad("tensors overlap");
  }
  return result;
}

absl::StatusOr<std::vector<float>> ReadModel(const std::string& path, const Layout& layout) {
  MUSTER_ASSIGN_OR_RETURN(const std::string bytes, ReadFile(path));
  MUSTER_ASSIGN_OR_RETURN(const NamedTensors file, ParseSafetensors(bytes, path));
  std::vector<float> values(static_cast<size_t>(layout.size));
  for (const Layout::Entry& entry : layout.entries) {
    const auto found = file.tensors.find(entry.name);
    if (found == file.tensors.end()) {
      return InvalidInput(absl::StrCat(path, ": lacks the model's tensor '", entry.name, "' of shape [",
                                       absl::StrJoin(entry.shape, ", "), "]"));
    }
    if (found->second.shape != entry.shape) {
      return InvalidInput(absl::StrCat(path, ": tensor '", entry.name, "' has shape [",
                                       absl::StrJoin(found->second.shape, ", "), "], the model needs [",
                                       absl::StrJoin(entry.shape, ", "), "]"));
    }
    std::copy(found->second.values.begin(), found->second.values.end(), values.begin() + entry.offset);
  }
  if (file.tensors.size() != layout.entries.size()) {
    for (const auto& [key, tensor] : file.tensors) {
      const bool known = std::any_of(layout.entries.begin(), layout.entries.end(),
                                     [&key = key](const Layout::Entry& entry) { return entry.name == key; });
      if (!known) return InvalidInput(absl::StrCat(path, ": tensor '", key, "' is not in the model"));
    }
  }
  return values;
}

}  // namespace muster
