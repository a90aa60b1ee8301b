#include "server/monitoring/units.h"

#include <cmath>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

namespace muster {
namespace {

// Three digits: 1.23, 12.3, 123.
std::string ThreeDigits(double value) {
  if (value < 9.995) return absl::StrFormat("%.2f", value);
  if (value < 99.95) return absl::StrFormat("%.1f", value);
  return absl::StrFormat("%.0f", value);
}

}  // namespace

std::string FormatBytes(double bytes) {
  if (bytes < 0) return absl::StrCat("-", FormatBytes(-bytes));
  if (bytes < 1000) return absl::StrFormat("%.0f B", bytes);
  const char* const units[] = {"kB", "MB", "GB", "TB", "PB"};
  size_t unit = 0;
  double value = bytes / 1000;
  while (value >= 999.5 && unit + 1 < std::size(units)) {
    value /= 1000;
    ++unit;
  }
  return absl::StrCat(ThreeDigits(value), " ", units[unit]);
}

std::string FormatCount(int64_t count) {
  const std::string digits = absl::StrCat(count);
  std::string out;
  for (size_t i = 0; i < digits.size(); ++i) {
    if (i > 0 && (digits.size() - i) % 3 == 0 && digits[i - 1] != '-') out += ',';
    out += digits[i];
  }
  return out;
}

std::string FormatSeconds(double seconds) {
  if (!std::isfinite(seconds)) return "?";
  if (seconds < 9.95) return absl::StrFormat("%.1fs", seconds);
  const auto whole = static_cast<int64_t>(std::llround(seconds));
  if (whole < 60) return absl::StrCat(whole, "s");
  if (whole < 3600) return absl::StrFormat("%dm%02ds", whole / 60, whole % 60);
  if (whole < 86400) return absl::StrFormat("%dh%02dm", whole / 3600, whole / 60 % 60);
  return absl::StrFormat("%dd%02dh", whole / 86400, whole / 3600 % 24);
}

std::string FormatRate(double rate) {
  if (!std::isfinite(rate)) return "?";
  return rate < 10000 ? ThreeDigits(rate) : absl::StrFormat("%.0fk", rate / 1000);
}

std::string FormatLoss(double loss) {
  return std::abs(loss) >= 0.01 && std::abs(loss) < 1000 ? absl::StrFormat("%.4f", loss)
                                                         : absl::StrFormat("%.4g", loss);
}

std::string FormatShare(double share) { return absl::StrFormat("%.2f%%", 100 * share); }

}  // namespace muster
