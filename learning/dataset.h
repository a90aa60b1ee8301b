// Labelled samples in memory. No LibTorch: the trainer wraps the buffers as tensors without a copy.
#ifndef MUSTER_LEARNING_DATASET_H_
#define MUSTER_LEARNING_DATASET_H_

#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "core/registry.h"
#include "core/status.h"

namespace muster {

// One copy in memory, shared read-only by all clients, who are lists of indices into it.
struct Dataset {
  std::vector<int64_t> sample_shape;  // {channels, height, width}, {channels, length} or {columns}
  std::vector<float> inputs;          // [size, sample_shape...] row-major; images and signals scaled to [0, 1]
  std::vector<int64_t> labels;        // [size] classes 0 .. num_classes-1; empty for regression
  std::vector<float> values;          // [size] regression targets; empty for classification
  int64_t num_classes = 0;            // 0: regression
  std::vector<std::string> class_names;                // empty or num_classes of them
  // Natural clients: for each grouping the data knows ("writer", "record", a column's name), the id of every sample.
  std::map<std::string, std::vector<int64_t>> groups;

  int64_t size() const;          // number of samples
  int64_t sample_size() const;   // elements of one sample
};

struct TrainTest {
  Dataset train;
  Dataset test;
};

// Reads a dataset from files. One implementation per file format or well-known collection.
class DatasetLoader {
 public:
  using Interface = DatasetLoader;
  static constexpr char kKind[] = "dataset";
  static constexpr char kList[] = "datasets";
  struct Context {
    std::string folder;  // relative paths in options are relative to this folder ("" is the working directory)
  };

  virtual ~DatasetLoader() = default;
  // Train and test parts of the same shape and classes, neither empty. NOT_FOUND or INVALID_ARGUMENT "FILE: what is
  // wrong; how to mend it" for a missing, truncated, empty, mislabelled or foreign file.
  virtual absl::StatusOr<TrainTest> Load() const = 0;
};

// Checks what Load promises (sizes agree, labels in range, inputs finite, nothing empty). `name` is for errors.
absl::Status CheckDataset(const Dataset& dataset, const std::string& name);

// Keeps the samples at `indices`, in that order.
Dataset TakeSamples(const Dataset& dataset, std::span<const int64_t> indices);
// Average-pools {channels, height, width} samples by `factor`. INVALID_ARGUMENT if the data are not images or the
// factor does not divide both sides.
absl::StatusOr<Dataset> PoolImages(const Dataset& dataset, int64_t factor);
// Shifts and scales both parts by the training part's mean and standard deviation (per channel for images and
// signals, per column otherwise; a constant column is only shifted).
void Standardize(TrainTest& data);

}  // namespace muster

#endif  // MUSTER_LEARNING_DATASET_H_
