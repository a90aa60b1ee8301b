// Clients that are up, by a pattern of availability.
#include <algorithm>
#include <nlohmann/json.hpp>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "core/file.h"
#include "server/selection/draw.h"
#include "server/selection/selector.h"

namespace muster {
namespace {

struct ByAvailabilityOptions {
  double probability = 1;
  std::string trace;
};

// Uniform among the clients that are up in the round: for real clients those that are connected, all
// candidates; for virtual ones as `trace` says, or each with `probability`, drawn anew for every round. Fewer
// are selected where fewer are up. Where none is up the server waits: the first later step of the pattern at
// which somebody is counts. Needs nothing from clients.
class ByAvailability final : public Selector {
 public:
  static absl::StatusOr<std::unique_ptr<Selector>> Create(const ByAvailabilityOptions& options,
                                                          const Context& context) {
    auto made = std::unique_ptr<ByAvailability>(new ByAvailability(options, context));
    if (!options.trace.empty()) MUSTER_RETURN_IF_ERROR(made->ReadTrace());
    return made;
  }

  absl::StatusOr<std::vector<ClientId>> Select(int64_t count, std::span<const ClientInfo> candidates,
                                               Random& random) const override {
    MUSTER_RETURN_IF_ERROR(CheckCount(count, candidates.size()));
    std::vector<ClientId> selected;
    if (count == 0) return selected;
    std::vector<ClientId> up;
    for (int64_t waited = 0; up.empty() && waited < kMaxWait; ++waited) {
      for (const ClientInfo& client : candidates) {
        if (IsUp(client.id, round_ + 1, waited)) up.push_back(client.id);
      }
    }
    if (up.empty())
      return absl::UnavailableError("no client is ever up (federation.selector by_availability)");
    const auto available = static_cast<int64_t>(up.size());
    for (const int64_t place : random.Sample(available, std::min(count, available))) {
      selected.push_back(up[static_cast<size_t>(place)]);
    }
    return selected;
  }

  void Observe(const SelectorRound& round) override { round_ = round.round; }
  std::string Save() const override { return absl::StrCat(round_); }
  absl::Status Load(const std::string& state) override {
    int64_t round = 0;
    if (!absl::SimpleAtoi(state, &round) || round < -1)
      return InvalidInput("the selector's state is damaged");
    round_ = round;
    return absl::OkStatus();
  }

 private:
  static constexpr int64_t kMaxWait = 10'000;

  ByAvailability(const ByAvailabilityOptions& options, const Context& context)
      : options_(options), seed_(context.seed) {}

  absl::Status ReadTrace() {
    MUSTER_ASSIGN_OR_RETURN(const std::string text, ReadFile(options_.trace));
    const nlohmann::json json = nlohmann::json::parse(text, nullptr, /*allow_exceptions=*/false);
    try {
      trace_ = json.at("available").get<std::vector<std::vector<ClientId>>>();
    } catch (const nlohmann::json::exception&) {
      return InvalidInput(
          absl::StrCat("trace: ", options_.trace,
                       R"(: must be JSON {"available": [[client, ...], ...]}, a list a round)"));
    }
    bool somebody = false;
    for (std::vector<ClientId>& clients : trace_) {
      std::sort(clients.begin(), clients.end());
      somebody = somebody || !clients.empty();
    }
    return somebody ? absl::OkStatus()
                    : InvalidInput(absl::StrCat("trace: ", options_.trace, ": nobody is ever up"));
  }

  bool IsUp(ClientId client, int64_t round, int64_t waited) const {
    if (!trace_.empty()) {
      const std::vector<ClientId>& clients = trace_[static_cast<size_t>(round + waited) % trace_.size()];
      return std::binary_search(clients.begin(), clients.end(), client);
    }
    if (options_.probability >= 1) return true;
    // Whether a client is up is a fact of the round, whoever asks how often.
    Random chance({.seed = seed_ + static_cast<uint64_t>(waited) * 0x9E3779B97F4A7C15ULL,
                   .purpose = Purpose::kAvailability,
                   .round = static_cast<uint64_t>(round),
                   .client = static_cast<uint64_t>(client)});
    return chance.Uniform() < options_.probability;
  }

  const ByAvailabilityOptions options_;
  const uint64_t seed_;
  std::vector<std::vector<ClientId>> trace_;  // ascending; by round, then from the start again
  int64_t round_ = -1;
};

MUSTER_REGISTER(
    Selector,
    Plugin<ByAvailabilityOptions>("by_availability",
                                  "Uniform among the clients that are up; fewer where fewer are")
        .Option("probability", &ByAvailabilityOptions::probability,
                "with which a virtual client is up in a round", AboveUpTo(0, 1))
        .Option("trace", &ByAvailabilityOptions::trace,
                R"(file {"available": [[client, ...], ...]}: who is up in each round, over and over)",
                FilePath())
        .Make<ByAvailability>());

}  // namespace
}  // namespace muster
