// What `muster sweep` runs: a grid file, read, checked and expanded.
//
//   name: robustness
//   base: base.yaml               # what all cells start from; relative to the grid's folder
//   seeds: [0, 1, 2]              # default: the base configuration's own
//   grid:                         # every combination of
//     federation.aggregator: [fedavg, {name: trimmed_mean, trim: 0.3}]   # values of one path
//     attack:                                                            # and settings with names
//       clean: {}
//       sign_flip: {simulation.adversaries: [{name: sign_flip, fraction: 0.2}]}
//   baseline: {attack: clean}     # what each arm is compared with: the same but for these settings
//   target: {share: 0.95}         # of the baseline's final accuracy; or {accuracy: 0.8}; or {share, of}
//   final_evaluations: 5          # whose mean is a cell's final accuracy
//   table: {rows: attack, columns: federation.aggregator}   # accuracy as a table of two axes
//
// Instead of `grid`, `arms` is a list of named settings (`baseline: NAME` then names one of them).
#ifndef MUSTER_APP_SWEEP_GRID_H_
#define MUSTER_APP_SWEEP_GRID_H_

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "core/config.h"
#include "core/status.h"

namespace muster {

// One way in which cells differ.
struct SweepAxis {
  std::string name;                   // as the grid file has it: "arm", a path, or a name of the user's
  std::string header;                 // for tables: a path's last part where that is unique
  std::vector<std::string> settings;  // labels
};

// One combination of settings. A cell is an arm with a seed.
struct SweepArm {
  std::vector<size_t> settings;  // of each axis
  std::vector<ConfigOverride> overrides;
  std::string name;    // "sign_flip, fedavg"
  std::string folder;  // the same for file systems
};

// Settings of some axes: axis and setting, as indices.
using SweepSelection = std::vector<std::pair<size_t, size_t>>;

struct SweepTarget {
  double accuracy = 0;  // > 0: this; else
  double share = 0;  // this share of the final accuracy that the arm selected by `of` has with the same seed
  SweepSelection of;
};

struct SweepTable {
  size_t rows = 0;  // axes
  size_t columns = 0;
};

struct SweepGrid {
  std::string name;
  std::string base;             // path, seen from the working directory
  std::vector<uint64_t> seeds;  // empty: the base configuration's own
  std::vector<SweepAxis> axes;  // at least one
  std::vector<SweepArm> arms;   // all combinations, the last axis varies fastest
  std::optional<SweepSelection> baseline;
  std::optional<SweepTarget> target;
  int64_t final_evaluations = 5;
  std::optional<SweepTable> table;

  // The arm that has `selection`'s settings, and `arm`'s of all other axes.
  size_t ArmWith(size_t arm, const SweepSelection& selection) const;
  // "clean", "clean, fedavg"
  std::string Name(const SweepSelection& selection) const;
};

// `file` is the name the grid was read by: for errors, and to find the base configuration. INVALID_ARGUMENT
// "FILE:LINE: KEY: what is wrong" for anything that is not as above; what the overrides say is not checked.
absl::StatusOr<SweepGrid> ParseSweepGrid(const std::string& yaml, const std::string& file);

}  // namespace muster

#endif  // MUSTER_APP_SWEEP_GRID_H_
