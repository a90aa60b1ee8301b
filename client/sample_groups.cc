#include "client/sample_groups.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "core/options.h"

namespace muster {
namespace {

constexpr char kSample[] = "sample";
constexpr char kClass[] = "class";

}  // namespace

absl::Status SampleGroups::Find(const std::string& by, std::span<const uint32_t> samples) {
  if (by == by_ && (by != kSample || job_ == jobs_)) return absl::OkStatus();
  if (by == kSample) {
    by_ = by;
    job_ = jobs_;
    count_ = static_cast<int64_t>(samples.size());
    groups_.assign(static_cast<size_t>(data_.size()), 0);
    std::vector<uint32_t> sorted(samples.begin(), samples.end());
    std::sort(sorted.begin(), sorted.end());
    for (size_t i = 0; i < sorted.size(); ++i) groups_[sorted[i]] = static_cast<int64_t>(i);
    return absl::OkStatus();
  }
  if (by == kClass && data_.num_classes > 0) {
    by_ = by;
    groups_ = data_.labels;
    count_ = data_.num_classes;
    return absl::OkStatus();
  }
  const auto column = data_.groups.find(by);
  if (column == data_.groups.end()) {
    std::vector<std::string> known = {kSample};
    if (data_.num_classes > 0) known.emplace_back(kClass);
    for (const auto& [name, ids] : data_.groups) known.push_back(name);
    return InvalidInput(absl::StrCat("the data have no groups '", by, "'", Suggestion(by, known)));
  }
  std::vector<int64_t> ids = column->second;
  std::sort(ids.begin(), ids.end());
  ids.erase(std::unique(ids.begin(), ids.end()), ids.end());
  by_ = by;
  groups_ = column->second;
  count_ = static_cast<int64_t>(ids.size());
  for (int64_t& group : groups_) group = std::lower_bound(ids.begin(), ids.end(), group) - ids.begin();
  return absl::OkStatus();
}

}  // namespace muster
