// Numbers as people read them, for the progress line and the report.
#ifndef MUSTER_SERVER_MONITORING_UNITS_H_
#define MUSTER_SERVER_MONITORING_UNITS_H_

#include <cstdint>
#include <string>

namespace muster {

// "0 B", "512 B", "1.50 kB", "12.3 MB", "1.20 TB": powers of 1000, three digits.
std::string FormatBytes(double bytes);
// "950", "12,345".
std::string FormatCount(int64_t count);
// "4.2s", "42s", "3m20s", "5h07m", "2d03h"; "?" if it is not finite.
std::string FormatSeconds(double seconds);
// "12.3", "0.52", "12k": three digits, for rates.
std::string FormatRate(double rate);
// A loss: four digits behind the point, or "%.4g" where that says more.
std::string FormatLoss(double loss);
// 0.78421 as "78.42%".
std::string FormatShare(double share);

}  // namespace muster

#endif  // MUSTER_SERVER_MONITORING_UNITS_H_
