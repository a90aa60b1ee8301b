// The numbers by which runs are compared, as text: shared by the page and the terminal's table.
#ifndef MUSTER_SERVER_MONITORING_COMPARISON_H_
#define MUSTER_SERVER_MONITORING_COMPARISON_H_

#include <span>
#include <string>
#include <vector>

#include "server/monitoring/run_files.h"

namespace muster {

struct Comparison {
  std::vector<std::string> columns;            // the first ones are labels
  std::vector<std::vector<std::string>> rows;  // by run
  size_t labels = 1;                           // that many columns are
};
// For a terminal: labels to the left, numbers to the right.
std::string AlignedText(const Comparison& comparison);

Comparison Compare(std::span<const Run> runs);
// Names that tell the runs apart: the name, with the directory where names are equal.
std::vector<std::string> RunLabels(std::span<const Run> runs);
// The summary; of an unfinished run what its rounds tell so far.
RunSummary SummaryOf(const Run& run);
// Whether the run learns classes (has an accuracy) rather than numbers.
bool LearnsClasses(const Run& run);

}  // namespace muster

#endif  // MUSTER_SERVER_MONITORING_COMPARISON_H_
