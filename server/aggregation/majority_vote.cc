// Majority vote: every client has one vote of a sign on every element.
#include <algorithm>

#include "compression/sign_votes.h"
#include "server/aggregation/collecting.h"

namespace muster {
namespace {

// sign(sum_i sign(Delta_i)), 0 on a tie: Bernstein et al. 2018's signSGD with majority vote,
// arXiv:2506.03725's multi-node form. An element's size does not count, so that no client has more than its
// vote. Meant for the compressor `sign`, of one bit an element, whose bits are counted as they came; with any
// other, an element that is 0 abstains. Memory: log2(voters) bits an element, 4 bytes with other compressors.
class MajorityVote final : public Aggregator {
 public:
  MajorityVote(const NoOptions& /*options*/, const Context& context)
      : layout_(*context.layout),
        cohort_(context.cohort.begin(), context.cohort.end()),
        signs_(layout_.size) {}

  absl::Status Add(const Update& update) override {
    MUSTER_RETURN_IF_ERROR(CheckMember(cohort_, update, /*needs_samples=*/false).status());
    MUSTER_ASSIGN_OR_RETURN(const bool counted, signs_.Add(update.payload, layout_));
    if (counted) return absl::OkStatus();
    MUSTER_ASSIGN_OR_RETURN(const std::vector<float> delta, DecodeInRange(update, layout_));
    votes_.resize(delta.size());
    for (size_t i = 0; i < delta.size(); ++i) votes_[i] += Sign(delta[i]);
    ++decoded_;
    return absl::OkStatus();
  }

  absl::StatusOr<Aggregate> Finish() && override {
    const int64_t voters = decoded_ + signs_.voters();
    if (voters == 0) return absl::FailedPreconditionError("nobody voted");
    votes_.resize(static_cast<size_t>(layout_.size));
    signs_.AddTo(votes_);
    Aggregate aggregate;
    aggregate.delta.reserve(votes_.size());
    for (const int32_t votes : votes_) aggregate.delta.push_back(static_cast<float>(Sign(votes)));
    aggregate.updates = voters;
    aggregate.total_weight = static_cast<double>(voters);
    return aggregate;
  }

 private:
  template <typename T>
  static int32_t Sign(T value) {
    return static_cast<int32_t>(value > 0) - static_cast<int32_t>(value < 0);
  }

  const Layout& layout_;
  const std::vector<ClientInfo> cohort_;
  SignVotes signs_;
  std::vector<int32_t> votes_;  // of updates that had to be decoded; empty without
  int64_t decoded_ = 0;         // how many they are
};

MUSTER_REGISTER(Aggregator,
                Plugin("majority_vote", "The sign that most clients have, element by element",
                       "Bernstein et al. 2018, arXiv:1810.05291; arXiv:2506.03725, multi-node form")
                    .Make<MajorityVote>());

}  // namespace
}  // namespace muster
