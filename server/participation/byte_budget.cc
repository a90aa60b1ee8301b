// As many clients as a budget of uploaded bytes allows.
#include <algorithm>
#include <limits>

#include "nlohmann/json.hpp"
#include "server/participation/policy.h"

namespace muster {
namespace {

struct ByteBudgetOptions {
  int64_t total_bytes = 0;
  int64_t round_bytes = 0;
};

// What is left of the budget is spread evenly over the rounds left, and divided by the mean size of the
// updates so far (before the first: of one without compression). A round has one client at least; the run
// ends when what is left would not pay for another update.
class ByteBudget final : public ParticipationPolicy {
 public:
  ByteBudget(const ByteBudgetOptions& options, const Context& context)
      : options_(options), context_(context) {}

  absl::StatusOr<Decision> Next(const BeforeRound& round) override {
    int64_t bytes = std::numeric_limits<int64_t>::max();
    if (options_.round_bytes > 0) bytes = options_.round_bytes;
    if (options_.total_bytes > 0) {
      const int64_t rounds_left = std::max<int64_t>(context_.rounds - round.round, 1);
      bytes = std::min(bytes, std::max<int64_t>(options_.total_bytes - upload_bytes_, 0) / rounds_left);
    }
    Decision decision;
    decision.clients = std::clamp<int64_t>(bytes / UpdateBytes(), 1, std::max<int64_t>(round.available, 1));
    decision.reason = "byte-budget";
    return decision;
  }

  absl::StatusOr<std::optional<SearchRecord>> Observe(const AfterRound& round) override {
    uploads_ += round.uploads;
    upload_bytes_ += round.upload_bytes;
    return std::nullopt;
  }

  bool IsDone() const override {
    return options_.total_bytes > 0 && upload_bytes_ + UpdateBytes() > options_.total_bytes;
  }

  std::string Save() const override {
    return nlohmann::json({{"uploads", uploads_}, {"upload_bytes", upload_bytes_}}).dump();
  }
  absl::Status Load(const std::string& state) override {
    try {
      const nlohmann::json json = nlohmann::json::parse(state);
      const auto uploads = json.at("uploads").get<int64_t>();
      upload_bytes_ = json.at("upload_bytes").get<int64_t>();
      uploads_ = uploads;
      return absl::OkStatus();
    } catch (const nlohmann::json::exception&) {
      return InvalidInput("byte_budget state is damaged: not the object Save() wrote");
    }
  }

 private:
  // Rounded up: an estimate that is a byte short would ask for a client too many.
  int64_t UpdateBytes() const {
    const int64_t bytes = uploads_ > 0 ? (upload_bytes_ + uploads_ - 1) / uploads_ : context_.model_bytes;
    return std::max<int64_t>(bytes, 1);
  }

  const ByteBudgetOptions options_;
  const Context context_;
  int64_t uploads_ = 0;
  int64_t upload_bytes_ = 0;
};

MUSTER_REGISTER(
    ParticipationPolicy,
    Plugin<ByteBudgetOptions>("byte_budget",
                              "As many clients as a budget of uploaded bytes allows, one at least")
        .Option("total_bytes", &ByteBudgetOptions::total_bytes,
                "of the run's uploads, spread over its rounds; the run ends when it is used up; 0: no limit",
                AtLeast(0))
        .Option("round_bytes", &ByteBudgetOptions::round_bytes, "of one round's uploads; 0: no limit",
                AtLeast(0))
        .Make<ByteBudget>());

}  // namespace
}  // namespace muster
