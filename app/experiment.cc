#include "app/experiment.h"

#include <filesystem>
#include <system_error>

#include "core/config.h"
#include "core/file.h"

namespace muster {
namespace {

// What one setting demands of another. Errors read "PATH: what is wrong".
absl::Status CheckTogether(const v1::Experiment& config) {
  if (config.data().trust().source() == "validation" && config.data().validation_fraction() == 0) {
    return InvalidInput(
        "data.trust.source: validation needs validation samples; set data.validation_fraction, e.g. 0.1");
  }
  if (config.federation().participation().name() == "isp" && config.data().trust().samples() == 0) {
    return InvalidInput(
        "federation.participation.name: isp needs a trust set; set data.trust.samples, e.g. 1000");
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<ExperimentFile> LoadExperimentWith(const std::string& path,
                                                  const std::vector<ConfigOverride>& overrides) {
  MUSTER_ASSIGN_OR_RETURN(const std::string yaml, ReadFile(path));
  std::error_code error;
  const std::filesystem::path absolute = std::filesystem::absolute(path, error);
  if (error) return InvalidInput(path + ": cannot be made absolute: " + error.message());
  ExperimentFile result{.config = {}, .folder = absolute.parent_path().string()};
  MUSTER_RETURN_IF_ERROR(LoadConfigWith(yaml, path, result.folder, overrides, result.config));
  MUSTER_RETURN_IF_ERROR(Annotate(CheckTogether(result.config), path));
  return result;
}

absl::StatusOr<ExperimentFile> LoadExperiment(const std::string& path,
                                              const std::vector<std::string>& overrides) {
  std::vector<ConfigOverride> parsed;
  for (const std::string& text : overrides) {
    MUSTER_ASSIGN_OR_RETURN(parsed.emplace_back(), ParseOverride(text));
  }
  return LoadExperimentWith(path, parsed);
}

}  // namespace muster
