#include "simulation/collusion.h"

#include <algorithm>
#include <cmath>

namespace muster {

void CollusionBuilder::Add(std::span<const float> update) {
  ++members_;
  for (size_t i = 0; i < update.size(); ++i) {
    const double before = static_cast<double>(update[i]) - mean_[i];
    mean_[i] += before / static_cast<double>(members_);
    squares_[i] += before * (static_cast<double>(update[i]) - mean_[i]);
  }
}

Collusion CollusionBuilder::Finish() const {
  Collusion result{.members = members_, .mean = {}, .deviation = {}};
  result.mean.assign(mean_.begin(), mean_.end());
  result.deviation.resize(squares_.size());
  for (size_t i = 0; i < squares_.size(); ++i) {
    result.deviation[i] =
        static_cast<float>(std::sqrt(squares_[i] / static_cast<double>(std::max<int64_t>(1, members_))));
  }
  return result;
}

}  // namespace muster
