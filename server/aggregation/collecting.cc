#include "server/aggregation/collecting.h"

#include <cmath>
#include <utility>

#include "absl/strings/str_cat.h"
#include "compression/compressor.h"

namespace muster {

absl::StatusOr<size_t> CheckMember(std::span<const ClientInfo> cohort, const Update& update,
                                   bool needs_samples) {
  const ClientInfo* client = FindClient(cohort, update.client);
  if (client == nullptr) {
    return InvalidInput(absl::StrCat("client ", update.client, " is not of this round's cohort"));
  }
  if (update.num_samples > client->num_samples) {
    return InvalidInput(
        absl::StrCat("claims ", update.num_samples, " samples, the client declared ", client->num_samples));
  }
  if (update.num_samples < (needs_samples ? 1 : 0)) return InvalidInput("claims no samples");
  return static_cast<size_t>(client - cohort.data());
}

absl::StatusOr<std::vector<float>> DecodeInRange(const Update& update, const Layout& layout) {
  MUSTER_ASSIGN_OR_RETURN(std::vector<float> values, DecodePayload(update.payload, layout));
  for (size_t i = 0; i < values.size(); ++i) {
    if (std::abs(values[i]) > 0x1p20F) return InvalidInput(absl::StrCat("element ", i, " is beyond 2^20"));
  }
  return values;
}

absl::Status Collecting::Add(const Update& update) {
  MUSTER_RETURN_IF_ERROR(CheckMember(cohort_, update, /*needs_samples=*/true).status());
  MUSTER_ASSIGN_OR_RETURN(std::vector<float> values, DecodeInRange(update, layout_));
  return updates_.Add(update.client, 1, std::move(values));
}

absl::StatusOr<Aggregate> Collecting::Finish() && {
  if (updates_.count() == 0) return absl::FailedPreconditionError("no update was added");
  Aggregate aggregate;
  aggregate.delta.assign(static_cast<size_t>(layout_.size), 0.0F);
  MUSTER_RETURN_IF_ERROR(Combine(updates_, aggregate.delta));
  aggregate.updates = updates_.count();
  aggregate.total_weight = static_cast<double>(updates_.count());
  return aggregate;
}

absl::StatusOr<std::vector<double>> SquaredDistances(const UpdateSet& updates,
                                                     std::span<const float> center) {
  std::vector<double> distances(static_cast<size_t>(updates.count()), 0.0);
  MUSTER_RETURN_IF_ERROR(updates.ForEachBlock([&](int64_t first,
                                                  std::span<const std::span<const float>> rows) {
    for (size_t i = 0; i < rows.size(); ++i) {
      double sum = 0;
      for (size_t k = 0; k < rows[i].size(); ++k) {
        const double difference = static_cast<double>(rows[i][k]) - center[static_cast<size_t>(first) + k];
        sum += difference * difference;
      }
      distances[i] += sum;
    }
  }));
  return distances;
}

absl::Status Combination(const UpdateSet& updates, std::span<const double> factors,
                         std::span<const float> base, std::span<float> out) {
  std::vector<double> sums;
  return updates.ForEachBlock([&](int64_t first, std::span<const std::span<const float>> rows) {
    const auto from = static_cast<size_t>(first);
    sums.assign(rows.front().size(), 0.0);
    for (size_t i = 0; i < rows.size(); ++i) {
      for (size_t k = 0; k < sums.size(); ++k) sums[k] += factors[i] * static_cast<double>(rows[i][k]);
    }
    for (size_t k = 0; k < sums.size(); ++k) {
      out[from + k] = static_cast<float>(base.empty() ? sums[k] : sums[k] + base[from + k]);
    }
  });
}

}  // namespace muster
