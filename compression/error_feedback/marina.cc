// MARINA: now and then everybody sends all, in between compressed changes.
#include <utility>

#include "compression/error_feedback.h"

namespace muster {
namespace {

struct MarinaOptions {
  double p = 0;
};

// A coin that all clients share falls heads with probability p, 1 / (1 + omega) by default.
//   heads: g_i = update_i, sent as the uncompressed difference to the old g_i
//   tails: g_i += C(update_i - update_i of the client's last message)
// The server keeps the mean of all g_i as in EF21. With every client in every round and full-batch gradients
// as updates this is MARINA, whose second gradient, at the old point, is the one the client remembers. A
// client that was away compares with its last update; a client without memory sends all.
class Marina final : public ErrorFeedback {
 public:
  static absl::StatusOr<std::unique_ptr<ErrorFeedback>> Create(const MarinaOptions& options,
                                                               const Context& context) {
    MUSTER_ASSIGN_OR_RETURN(const double omega, OmegaOf(context, "marina"));
    MUSTER_ASSIGN_OR_RETURN(auto dense, Registry<Compressor>::Get().Create({"identity", {}}, {}));
    return std::unique_ptr<ErrorFeedback>(
        new Marina(options.p > 0 ? options.p : 1 / (1 + omega), std::move(dense), context));
  }

  absl::StatusOr<Payload> Encode(std::span<const float> update, const RandomKey& key,
                                 State& memory) const override {
    MUSTER_RETURN_IF_ERROR(CheckUpdate(update, *context_.layout));
    State next = memory;
    RandomKey coin = key;
    coin.client = ~uint64_t{0};
    const bool heads = !memory.vectors.contains("previous") || Random(coin).Uniform() < p_;
    MUSTER_ASSIGN_OR_RETURN(std::vector<float>* const previous,
                            Remembered(next, "previous", context_.layout->size));
    MUSTER_ASSIGN_OR_RETURN(std::vector<float>* const estimate,
                            Remembered(next, "estimate", context_.layout->size));
    const std::vector<float>& from = heads ? *estimate : *previous;
    std::vector<float> change(update.size());
    for (size_t i = 0; i < update.size(); ++i) change[i] = update[i] - from[i];
    const Compressor& compressor = heads ? *dense_ : *context_.compressor;
    MUSTER_ASSIGN_OR_RETURN(Payload message, compressor.Compress(change, *context_.layout, key));
    MUSTER_ASSIGN_OR_RETURN(const std::vector<float> sent, DecodePayload(message, *context_.layout));
    for (size_t i = 0; i < sent.size(); ++i) (*estimate)[i] += sent[i];
    previous->assign(update.begin(), update.end());
    memory = std::move(next);
    return message;
  }
  absl::Status Combine(std::vector<float>& mean, double share, State& memory) const override {
    return AddToEstimate(mean, share, memory);
  }
  bool NeedsUniformWeights() const override { return true; }

 private:
  Marina(double p, std::unique_ptr<Compressor> dense, const Context& context)
      : p_(p), dense_(std::move(dense)), context_(context) {}

  const double p_;
  const std::unique_ptr<const Compressor> dense_;
  const Context context_;
};

MUSTER_REGISTER(ErrorFeedback,
                Plugin<MarinaOptions>("marina",
                                      "Compressed changes, and now and then all; weighs clients alike",
                                      "Gorbunov et al. 2021, arXiv:2102.07845, algorithm 1")
                    .Option("p", &MarinaOptions::p,
                            "chance of a round in which all is sent; 0: 1 / (1 + omega)", Between(0, 1))
                    .Make<Marina>());

}  // namespace
}  // namespace muster
