// CIFAR-10 in its binary form (A. Krizhevsky 2009): records of one label byte and 3 x 32 x 32 pixel bytes.
#include <algorithm>
#include <filesystem>
#include <map>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "learning/datasets/data_file.h"

namespace muster {
namespace {

constexpr size_t kPixels = 3 * 32 * 32;
constexpr size_t kRecord = 1 + kPixels;

absl::Status AppendBatch(const std::string& path, Dataset& part) {
  MUSTER_ASSIGN_OR_RETURN(const std::string bytes, ReadDataFile(path));
  if (bytes.size() % kRecord != 0) {
    return InvalidInput(absl::StrCat(path, ": ", bytes.size(), " bytes are no whole number of records of ",
                                     kRecord, " bytes", LooksLike(bytes),
                                     "; get the binary version of CIFAR-10 anew"));
  }
  part.inputs.reserve(part.inputs.size() + bytes.size() / kRecord * kPixels);
  for (size_t at = 0; at < bytes.size(); at += kRecord) {
    const auto label = static_cast<uint8_t>(bytes[at]);
    if (label >= 10) {
      return InvalidInput(absl::StrCat(path, ": label ", label, " of record ", at / kRecord,
                                       " is not one of 0 to 9; get the binary version of CIFAR-10 anew"));
    }
    part.labels.push_back(label);
    AppendScaled(std::string_view(bytes).substr(at + 1, kPixels), part.inputs);
  }
  return absl::OkStatus();
}

// All batches of `folder` whose names start with `prefix`, in the order of their names.
absl::StatusOr<Dataset> ReadPart(const std::string& folder, const std::string& prefix) {
  std::map<std::string, std::string> files;  // by name without .gz: a plain and a packed copy are one batch
  std::error_code error;
  // Not a range-based loop, whose steps throw.
  for (std::filesystem::directory_iterator entry(folder, error), end; !error && entry != end;
       entry.increment(error)) {
    const std::string file = entry->path().filename().string();
    const std::string name(absl::StripSuffix(file, ".gz"));
    if (absl::StartsWith(name, prefix) && absl::EndsWith(name, ".bin"))
      files[name] = FindInFolder(folder, name);
  }
  if (error) return InvalidInput(absl::StrCat(folder, ": cannot be read: ", error.message()));
  if (files.empty()) {
    return absl::NotFoundError(absl::StrCat(folder, ": holds no ", prefix, "*.bin or ", prefix,
                                            "*.bin.gz; complete the folder or correct data.dataset.path"));
  }
  Dataset part;
  part.sample_shape = {3, 32, 32};
  part.num_classes = 10;
  part.class_names = {"airplane", "automobile", "bird",  "cat",  "deer",
                      "dog",      "frog",       "horse", "ship", "truck"};
  for (const auto& [name, path] : files) MUSTER_RETURN_IF_ERROR(AppendBatch(path, part));
  return part;
}

struct Cifar10Options {
  std::string path;
};

class Cifar10 final : public DatasetLoader {
 public:
  Cifar10(const Cifar10Options& options, const Context& context)
      : path_(PathIn(context.folder, options.path)) {}

  absl::StatusOr<TrainTest> Load() const override {
    MUSTER_RETURN_IF_ERROR(RequireFolder(path_, "correct data.dataset.path"));
    TrainTest data;
    MUSTER_ASSIGN_OR_RETURN(data.train, ReadPart(path_, "data_batch"));
    MUSTER_ASSIGN_OR_RETURN(data.test, ReadPart(path_, "test_batch"));
    return data;
  }

 private:
  const std::string path_;
};

MUSTER_REGISTER(DatasetLoader,
                Plugin<Cifar10Options>("cifar10",
                                       "CIFAR-10, binary version: 32 x 32 colour images, 10 classes",
                                       "Krizhevsky 2009")
                    .Required("path", &Cifar10Options::path,
                              "folder of data_batch_*.bin and test_batch*.bin, plain or .gz", FilePath())
                    .Make<Cifar10>());

}  // namespace
}  // namespace muster
