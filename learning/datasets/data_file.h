// What all dataset loaders share: finding and reading files, numbers in text, holding out a test part.
#ifndef MUSTER_LEARNING_DATASETS_DATA_FILE_H_
#define MUSTER_LEARNING_DATASETS_DATA_FILE_H_

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "core/status.h"
#include "learning/dataset.h"

namespace muster {

// `path` as seen from `folder`; an absolute path stays.
std::string PathIn(const std::string& folder, const std::string& path);
// NOT_FOUND "PATH: no such folder; MEND".
absl::Status RequireFolder(const std::string& path, const std::string& mend);
// The file `name` or `name`.gz of `folder`, or "" if it has neither.
std::string FindInFolder(const std::string& folder, const std::string& name);
// The same; NOT_FOUND where there is neither.
absl::StatusOr<std::string> RequireInFolder(const std::string& folder, const std::string& name);

// The content of a plain or gzip file. An empty one is an error.
absl::StatusOr<std::string> ReadDataFile(const std::string& path);
// ReadDataFile for a file that must be text; a byte order mark is removed.
absl::StatusOr<std::string> ReadTextFile(const std::string& path);
// " (it looks like an HTML page)" and the like, or "".
std::string LooksLike(std::string_view bytes);

// A number as text that a float can hold, optionally with a leading '+'. False for anything else, also nan
// and inf.
bool ParseNumber(std::string_view text, double& value);
bool ParseInteger(std::string_view text, int64_t& value);
// Without spaces, tabs and carriage returns at both ends.
std::string_view Trim(std::string_view text);
// 'text' for a message: cut to a readable length, unprintable bytes replaced.
std::string Quote(std::string_view text);

// Adds bytes as floats of [0, 1].
void AppendScaled(std::string_view bytes, std::vector<float>& out);

// Which rows of a single file are for training and which for testing, each ascending.
struct HeldOut {
  std::vector<int64_t> train;
  std::vector<int64_t> test;
};
// Draws a test part of about `fraction` of `rows`, at least one row for each part. INVALID_ARGUMENT for fewer
// than two rows.
absl::StatusOr<HeldOut> HoldOut(int64_t rows, double fraction, int64_t split_seed, const std::string& path);

// INVALID_ARGUMENT where `rows` rows of `columns` columns are beyond what makes sense as a dense table.
absl::Status CheckDenseSize(int64_t rows, int64_t columns, const std::string& path);

}  // namespace muster

#endif  // MUSTER_LEARNING_DATASETS_DATA_FILE_H_
