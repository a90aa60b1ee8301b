// The IDX format (Y. LeCun, http://yann.lecun.com/exdb/mnist): two zero bytes, a type byte, the number of
// dimensions, their sizes as big-endian uint32, then the elements, big-endian and row-major.
#ifndef MUSTER_LEARNING_DATASETS_IDX_FILE_H_
#define MUSTER_LEARNING_DATASETS_IDX_FILE_H_

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "core/status.h"
#include "learning/dataset.h"

namespace muster {

struct IdxArray {
  std::string path;            // for messages
  uint8_t type = 0;            // 0x08 uint8, 0x09 int8, 0x0B int16, 0x0C int32, 0x0D float32, 0x0E float64
  std::vector<int64_t> shape;  // at least one dimension, none of them 0
  std::string bytes;           // the whole file

  std::string_view elements() const { return std::string_view(bytes).substr(4 + 4 * shape.size()); }
};

// Reads a plain or gzip file. INVALID_ARGUMENT if it is not IDX or has more or fewer bytes than its header
// says.
absl::StatusOr<IdxArray> ReadIdx(const std::string& path);

// Column `column` of a 2-D array of integers, or a 1-D one itself (then `column` is -1).
absl::StatusOr<std::vector<int64_t>> IdxColumn(const IdxArray& array, int64_t column);

// One integer for each of `samples` samples: a 1-D or 2-D IDX file (see IdxColumn) or text with one a line.
absl::StatusOr<std::vector<int64_t>> ReadIds(const std::string& path, int64_t column, int64_t samples);

// Samples and labels. Bytes are scaled to [0, 1], other types taken as they are; [N, L] becomes signals {1,
// L}, [N, H, W] images {1, H, W}, [N, C, H, W] images {C, H, W}.
struct IdxFiles {
  std::string inputs;
  std::string labels;
};
// Both parts, checked; `classes` 0 takes the largest label + 1. No groups or class names yet.
absl::StatusOr<TrainTest> ReadIdxDataset(const IdxFiles& train, const IdxFiles& test, int64_t classes);

}  // namespace muster

#endif  // MUSTER_LEARNING_DATASETS_IDX_FILE_H_
