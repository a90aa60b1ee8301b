// MNIST (Y. LeCun et al., Proc. IEEE 86(11), 1998). The extended labels of QMNIST (C. Yadav, L. Bottou,
// arXiv:1905.10498), where they are in the folder, name the writer of every digit: natural clients.
#include <algorithm>

#include "absl/strings/str_cat.h"
#include "learning/datasets/data_file.h"
#include "learning/datasets/idx_file.h"

namespace muster {
namespace {

// Columns of a QMNIST label file.
constexpr int64_t kClass = 0;
constexpr int64_t kSeries = 1;  // of the NIST forms: employees or high-school students
constexpr int64_t kWriter = 2;

// Sample i is described by row i; QMNIST's test file goes on with rows for images that MNIST lacks.
absl::Status AddWriters(const std::string& path, Dataset& part) {
  if (path.empty()) return absl::OkStatus();
  MUSTER_ASSIGN_OR_RETURN(const IdxArray table, ReadIdx(path));
  MUSTER_ASSIGN_OR_RETURN(const std::vector<int64_t> labels, IdxColumn(table, kClass));
  if (static_cast<int64_t>(labels.size()) < part.size() ||
      !std::equal(part.labels.begin(), part.labels.end(), labels.begin())) {
    return InvalidInput(absl::StrCat(path, ": its classes are not those of the MNIST labels beside it; ",
                                     "get the file anew or remove it"));
  }
  for (const auto& [name, column] : {std::pair("series", kSeries), std::pair("writer", kWriter)}) {
    MUSTER_ASSIGN_OR_RETURN(std::vector<int64_t> ids, IdxColumn(table, column));
    ids.resize(part.labels.size());
    part.groups[name] = std::move(ids);
  }
  return absl::OkStatus();
}

struct MnistOptions {
  std::string path;
};

class Mnist final : public DatasetLoader {
 public:
  Mnist(const MnistOptions& options, const Context& context) : path_(PathIn(context.folder, options.path)) {}

  absl::StatusOr<TrainTest> Load() const override {
    MUSTER_RETURN_IF_ERROR(RequireFolder(path_, "correct data.dataset.path"));
    IdxFiles train, test;
    MUSTER_ASSIGN_OR_RETURN(train.inputs, RequireInFolder(path_, "train-images-idx3-ubyte"));
    MUSTER_ASSIGN_OR_RETURN(train.labels, RequireInFolder(path_, "train-labels-idx1-ubyte"));
    MUSTER_ASSIGN_OR_RETURN(test.inputs, RequireInFolder(path_, "t10k-images-idx3-ubyte"));
    MUSTER_ASSIGN_OR_RETURN(test.labels, RequireInFolder(path_, "t10k-labels-idx1-ubyte"));
    MUSTER_ASSIGN_OR_RETURN(TrainTest data, ReadIdxDataset(train, test, 10));
    data.train.class_names = data.test.class_names = {"0", "1", "2", "3", "4", "5", "6", "7", "8", "9"};
    MUSTER_RETURN_IF_ERROR(AddWriters(FindInFolder(path_, "qmnist-train-labels-idx2-int"), data.train));
    MUSTER_RETURN_IF_ERROR(AddWriters(FindInFolder(path_, "qmnist-test-labels-idx2-int"), data.test));
    return data;
  }

 private:
  const std::string path_;
};

MUSTER_REGISTER(DatasetLoader,
                Plugin<MnistOptions>(
                    "mnist", "MNIST digits; groups 'writer' and 'series' where QMNIST labels are present",
                    "LeCun et al. 1998; Yadav and Bottou 2019, arXiv:1905.10498")
                    .Required("path", &MnistOptions::path, "folder of the four IDX files", FilePath())
                    .Make<Mnist>());

}  // namespace
}  // namespace muster
