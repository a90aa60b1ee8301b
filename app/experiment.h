// Reading an experiment's configuration: what the schema says, and what it cannot say.
#ifndef MUSTER_APP_EXPERIMENT_H_
#define MUSTER_APP_EXPERIMENT_H_

#include <string>
#include <vector>

#include "core/config.h"
#include "core/status.h"
#include "muster/v1/experiment.pb.h"

namespace muster {

struct ExperimentFile {
  v1::Experiment config;  // complete: every default filled in, every path absolute
  std::string folder;     // absolute; where the file lies
};

// Reads the YAML file at `path`, applies `overrides` ("a.b=value") and checks it, also where one setting
// needs another. NOT_FOUND or INVALID_ARGUMENT, one line, as core/config.h says.
absl::StatusOr<ExperimentFile> LoadExperiment(const std::string& path,
                                              const std::vector<std::string>& overrides);
// The same with overrides that may stand in other files.
absl::StatusOr<ExperimentFile> LoadExperimentWith(const std::string& path,
                                                  const std::vector<ConfigOverride>& overrides);

}  // namespace muster

#endif  // MUSTER_APP_EXPERIMENT_H_
