#include "server/rounds/downlink.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"

namespace muster {
namespace {

constexpr char kShadow[] = "shadow";
constexpr char kVersion[] = "version";
constexpr char kDelta[] = "delta/";  // a payload's bytes in words of four, and how many they are

std::vector<float> ToWords(std::string_view bytes) {
  std::vector<float> words((bytes.size() + sizeof(float) - 1) / sizeof(float));
  std::memcpy(words.data(), bytes.data(), bytes.size());
  return words;
}

}  // namespace

absl::Status Downlink::Advance(int64_t round, uint64_t seed, ConstParameters model) {
  if (version_ < 0) {
    shadow_ = std::make_shared<const std::vector<float>>(model.begin(), model.end());
    version_ = round;
    return absl::OkStatus();
  }
  if (round != version_ + 1) {
    return InternalError(absl::StrCat("downlink: round ", round, " does not follow version ", version_));
  }
  std::vector<float> difference(model.size());
  for (size_t i = 0; i < model.size(); ++i) difference[i] = model[i] - (*shadow_)[i];
  const RandomKey key{.seed = seed, .purpose = Purpose::kDownlink, .round = static_cast<uint64_t>(round)};
  MUSTER_ASSIGN_OR_RETURN(Payload payload, compressor_.Compress(difference, layout_, key));
  // The receivers' value counts, not what it was before encoding.
  MUSTER_ASSIGN_OR_RETURN(difference, DecodePayload(payload, layout_));
  auto shadow = std::make_shared<std::vector<float>>(*shadow_);
  for (size_t i = 0; i < shadow->size(); ++i) (*shadow)[i] += difference[i];
  shadow_ = std::move(shadow);
  version_ = round;
  deltas_.push_back({.version = round, .payload = std::make_shared<const Payload>(std::move(payload))});
  int64_t bytes = 0;
  auto first = deltas_.end();
  while (first != deltas_.begin() && bytes + std::prev(first)->payload->size() < ModelBytes(layout_)) {
    bytes += (--first)->payload->size();
  }
  deltas_.erase(deltas_.begin(), first);
  return absl::OkStatus();
}

void Downlink::FillIn(Task& task) const {
  task.model = shadow_;
  task.model_version = version_;
  task.deltas = deltas_;
}

State Downlink::Save() const {
  State state;
  if (version_ < 0) return state;
  state.vectors[kShadow] = *shadow_;
  state.numbers[kVersion] = static_cast<double>(version_);
  for (const ModelDelta& delta : deltas_) {
    const std::string name = absl::StrCat(kDelta, delta.version);
    state.vectors[name] = ToWords(delta.payload->view());
    state.numbers[name] = static_cast<double>(delta.payload->size());
  }
  return state;
}

absl::Status Downlink::Load(State state) {
  if (state.empty()) return absl::OkStatus();
  const auto version = state.numbers.find(kVersion);
  const auto shadow = state.vectors.find(kShadow);
  if (version == state.numbers.end() || shadow == state.vectors.end() ||
      static_cast<int64_t>(shadow->second.size()) != layout_.size) {
    return InvalidInput("downlink state is damaged or of another model");
  }
  version_ = static_cast<int64_t>(version->second);
  shadow_ = std::make_shared<const std::vector<float>>(std::move(shadow->second));
  deltas_.clear();
  for (const auto& [name, words] : state.vectors) {
    absl::string_view number = name;
    int64_t of = 0;
    if (!absl::ConsumePrefix(&number, kDelta) || !absl::SimpleAtoi(number, &of)) continue;
    const auto size = static_cast<size_t>(state.numbers[name]);
    if (size > words.size() * sizeof(float)) return InvalidInput("downlink state is damaged");
    Payload payload{.bytes = std::string(reinterpret_cast<const char*>(words.data()), size)};
    deltas_.push_back({.version = of, .payload = std::make_shared<const Payload>(std::move(payload))});
  }
  std::sort(deltas_.begin(), deltas_.end(),
            [](const ModelDelta& a, const ModelDelta& b) { return a.version < b.version; });
  return absl::OkStatus();
}

int64_t DownloadBytes(const Task& task, int64_t held, const Layout& layout) {
  int64_t bytes = 0;
  for (const auto& [name, values] : task.vectors) {
    bytes += static_cast<int64_t>(values->size() * sizeof(float));
  }
  const bool reachable =
      held >= 0 && held <= task.model_version &&
      (held == task.model_version || (!task.deltas.empty() && held + 1 >= task.deltas.front().version));
  if (!reachable) return bytes + ModelBytes(layout);
  int64_t missed = 0;
  for (const ModelDelta& delta : task.deltas) {
    if (delta.version > held) missed += delta.payload->size();
  }
  return bytes + std::min(missed, ModelBytes(layout));
}

}  // namespace muster
