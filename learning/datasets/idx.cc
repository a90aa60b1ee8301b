// Any collection in IDX files, the format of MNIST.
#include "learning/datasets/data_file.h"
#include "learning/datasets/idx_file.h"

namespace muster {
namespace {

struct IdxOptions {
  std::string train_inputs;
  std::string train_labels;
  std::string test_inputs;
  std::string test_labels;
  int64_t classes = 0;
  std::string train_groups;
  std::string test_groups;
  std::string group_name = "group";
  int64_t group_column = -1;
};

class Idx final : public DatasetLoader {
 public:
  Idx(const IdxOptions& options, const Context& context) : options_(options), folder_(context.folder) {}

  absl::StatusOr<TrainTest> Load() const override {
    const auto in = [this](const std::string& path) { return PathIn(folder_, path); };
    MUSTER_ASSIGN_OR_RETURN(
        TrainTest data,
        ReadIdxDataset({in(options_.train_inputs), in(options_.train_labels)},
                       {in(options_.test_inputs), in(options_.test_labels)}, options_.classes));
    MUSTER_RETURN_IF_ERROR(AddGroups(options_.train_groups, data.train));
    MUSTER_RETURN_IF_ERROR(AddGroups(options_.test_groups, data.test));
    return data;
  }

 private:
  absl::Status AddGroups(const std::string& file, Dataset& part) const {
    if (file.empty()) return absl::OkStatus();
    MUSTER_ASSIGN_OR_RETURN(part.groups[options_.group_name],
                            ReadIds(PathIn(folder_, file), options_.group_column, part.size()));
    return absl::OkStatus();
  }

  const IdxOptions options_;
  const std::string folder_;
};

MUSTER_REGISTER(
    DatasetLoader,
    Plugin<IdxOptions>("idx", "Signals or images in IDX files, plain or gzip", "LeCun, MNIST")
        .Required("train_inputs", &IdxOptions::train_inputs,
                  "file of training samples: [N, L], [N, H, W] or [N, C, H, W]; bytes are scaled to [0, 1]",
                  FilePath())
        .Required("train_labels", &IdxOptions::train_labels, "file of training labels: [N] integers",
                  FilePath())
        .Required("test_inputs", &IdxOptions::test_inputs, "file of test samples", FilePath())
        .Required("test_labels", &IdxOptions::test_labels, "file of test labels", FilePath())
        .Option("classes", &IdxOptions::classes, "number of classes; 0: the largest label + 1", AtLeast(0))
        .Option("train_groups", &IdxOptions::train_groups,
                "file with an id (a writer, a patient) per training sample: IDX, or text with one a line",
                FilePath())
        .Option("test_groups", &IdxOptions::test_groups, "the same for the test samples", FilePath())
        .Option("group_name", &IdxOptions::group_name, "what the natural partition calls these ids")
        .Option("group_column", &IdxOptions::group_column,
                "column of the ids in a 2-D IDX file; -1: the file is 1-D", AtLeast(-1))
        .Make<Idx>());

}  // namespace
}  // namespace muster
