// Fashion-MNIST (H. Xiao, K. Rasul, R. Vollgraf, arXiv:1708.07747): 60000 + 10000 images of 28 x 28, 10
// classes.
#include "learning/datasets/data_file.h"
#include "learning/datasets/idx_file.h"

namespace muster {
namespace {

struct FashionMnistOptions {
  std::string path = "/usr/share/datasets/fashion-mnist";
};

class FashionMnist final : public DatasetLoader {
 public:
  FashionMnist(const FashionMnistOptions& options, const Context& context)
      : path_(PathIn(context.folder, options.path)) {}

  absl::StatusOr<TrainTest> Load() const override {
    MUSTER_RETURN_IF_ERROR(
        RequireFolder(path_, "install Debian's package dataset-fashion-mnist or set data.dataset.path"));
    IdxFiles train, test;
    MUSTER_ASSIGN_OR_RETURN(train.inputs, RequireInFolder(path_, "train-images-idx3-ubyte"));
    MUSTER_ASSIGN_OR_RETURN(train.labels, RequireInFolder(path_, "train-labels-idx1-ubyte"));
    MUSTER_ASSIGN_OR_RETURN(test.inputs, RequireInFolder(path_, "t10k-images-idx3-ubyte"));
    MUSTER_ASSIGN_OR_RETURN(test.labels, RequireInFolder(path_, "t10k-labels-idx1-ubyte"));
    MUSTER_ASSIGN_OR_RETURN(TrainTest data, ReadIdxDataset(train, test, 10));
    data.train.class_names =
        data.test.class_names = {"T-shirt/top", "trouser", "pullover", "dress", "coat",
                                 "sandal",      "shirt",   "sneaker",  "bag",   "ankle boot"};
    return data;
  }

 private:
  const std::string path_;
};

MUSTER_REGISTER(DatasetLoader,
                Plugin<FashionMnistOptions>("fashion_mnist", "Fashion-MNIST: 28 x 28 images, 10 classes",
                                            "Xiao et al. 2017, arXiv:1708.07747")
                    .Option("path", &FashionMnistOptions::path, "folder of the four IDX files", FilePath())
                    .Make<FashionMnist>());

}  // namespace
}  // namespace muster
