// The mean of every element without its extremes.
#include <algorithm>
#include <cmath>

#include "server/aggregation/collecting.h"

namespace muster {
namespace {

struct TrimmedMeanOptions {
  double trim = 0.2;
};

// Of n values of an element the floor(trim * n) smallest and as many largest do not count.
class TrimmedMean final : public Collecting {
 public:
  TrimmedMean(const TrimmedMeanOptions& options, const Context& context)
      : Collecting(context), options_(options) {}

 protected:
  absl::Status Combine(const UpdateSet& updates, std::vector<float>& delta) override {
    const auto count = static_cast<size_t>(updates.count());
    // The small constant: 0.2 * 10 is meant to be 2.
    const auto cut = static_cast<size_t>(options_.trim * static_cast<double>(count) + 1e-9);
    std::vector<float> column(count);
    return updates.ForEachBlock([&](int64_t first, std::span<const std::span<const float>> rows) {
      for (size_t k = 0; k < rows.front().size(); ++k) {
        for (size_t i = 0; i < count; ++i) column[i] = rows[i][k];
        std::sort(column.begin(), column.end());
        double sum = 0;
        for (size_t i = cut; i < count - cut; ++i) sum += column[i];
        delta[static_cast<size_t>(first) + k] =
            static_cast<float>(sum / static_cast<double>(count - 2 * cut));
      }
    });
  }

 private:
  const TrimmedMeanOptions options_;
};

MUSTER_REGISTER(Aggregator,
                Plugin<TrimmedMeanOptions>("trimmed_mean", "Mean of every element without its extremes",
                                           "Yin et al. 2018, arXiv:1803.01498, option II")
                    .Option("trim", &TrimmedMeanOptions::trim,
                            "share of the values left out at each end; at least the share of liars",
                            Within(0, 0.5))
                    .Make<TrimmedMean>());

}  // namespace
}  // namespace muster
