// The median of every element.
#include <algorithm>

#include "server/aggregation/collecting.h"

namespace muster {
namespace {

struct MedianOptions {};

// Of an even number of updates the mean of the two in the middle, so that the rule is symmetric.
class Median final : public Collecting {
 public:
  Median(const MedianOptions& /*options*/, const Context& context) : Collecting(context) {}

 protected:
  absl::Status Combine(const UpdateSet& updates, std::vector<float>& delta) override {
    std::vector<float> column;
    return updates.ForEachBlock([&](int64_t first, std::span<const std::span<const float>> rows) {
      column.resize(rows.size());
      const auto middle = column.begin() + static_cast<std::ptrdiff_t>(rows.size() / 2);
      for (size_t k = 0; k < rows.front().size(); ++k) {
        for (size_t i = 0; i < rows.size(); ++i) column[i] = rows[i][k];
        std::nth_element(column.begin(), middle, column.end());
        double value = *middle;
        if (rows.size() % 2 == 0) value = (value + *std::max_element(column.begin(), middle)) / 2;
        delta[static_cast<size_t>(first) + k] = static_cast<float>(value);
      }
    });
  }
};

MUSTER_REGISTER(Aggregator,
                Plugin<MedianOptions>("median", "Median of every element; bears fewer than half liars",
                                      "Yin et al. 2018, arXiv:1803.01498, option I")
                    .Make<Median>());

}  // namespace
}  // namespace muster
