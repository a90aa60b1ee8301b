#include "server/aggregation/client_report.h"

#include <cmath>

namespace muster {

std::optional<double> Told(const ClientReport& report, const char* name) {
  const auto found = report.numbers.find(name);
  if (found == report.numbers.end() || found->second.size() != 1) return std::nullopt;
  const double value = found->second.front();
  return std::isfinite(value) && value >= 0 ? std::optional(value) : std::nullopt;
}

}  // namespace muster
