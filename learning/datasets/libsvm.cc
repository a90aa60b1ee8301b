// LIBSVM sparse text (C.-C. Chang, C.-J. Lin, ACM TIST 2:27, 2011): "label index:value ..." a line, indices
// from 1, ascending; what follows '#' is a comment. Read into dense rows.
#include <algorithm>
#include <cmath>
#include <map>

#include "absl/strings/str_cat.h"
#include "learning/datasets/data_file.h"

namespace muster {
namespace {

constexpr int64_t kMaxClasses = 1000;

// The rows of one file, still sparse, back to back.
struct SparseRows {
  std::string path;
  std::vector<double> targets;
  std::vector<int64_t> lines;                    // of every row, from 1
  std::vector<size_t> starts = {0};              // row r is [starts[r], starts[r + 1])
  std::vector<std::pair<int64_t, float>> cells;  // 0-based column and value
  int64_t columns = 0;

  int64_t size() const { return static_cast<int64_t>(targets.size()); }
};

absl::Status ParseLine(std::string_view line, int64_t number, SparseRows& rows) {
  const auto error = [&](std::string_view token, const std::string& what) {
    return InvalidInput(absl::StrCat(rows.path, ": line ", number, ": ", Quote(token), " ", what,
                                     "; a line reads 'label index:value ...'"));
  };
  const auto next = [&line] {
    line.remove_prefix(std::min(line.find_first_not_of(" \t\r"), line.size()));
    const std::string_view token = line.substr(0, line.find_first_of(" \t\r"));
    line.remove_prefix(token.size());
    return token;
  };
  const std::string_view label = next();
  double target = 0;
  if (!ParseNumber(label, target)) return error(label, "is not a finite number");
  int64_t last = 0;
  for (std::string_view token = next(); !token.empty(); token = next()) {
    const size_t colon = token.find(':');
    int64_t index = 0;
    double value = 0;
    if (colon == std::string_view::npos || !ParseInteger(token.substr(0, colon), index)) {
      return error(token, "is not index:value");
    }
    if (!ParseNumber(token.substr(colon + 1), value))
      return error(token, "has no finite number as its value");
    if (index <= last) {
      return error(token, last == 0 ? "has an index below 1" : absl::StrCat("comes after index ", last));
    }
    last = index;
    rows.cells.emplace_back(index - 1, static_cast<float>(value));
  }
  rows.columns = std::max(rows.columns, last);
  rows.targets.push_back(target);
  rows.lines.push_back(number);
  rows.starts.push_back(rows.cells.size());
  return absl::OkStatus();
}

absl::StatusOr<SparseRows> ReadRows(const std::string& path) {
  MUSTER_ASSIGN_OR_RETURN(const std::string text, ReadTextFile(path));
  SparseRows rows;
  rows.path = path;
  int64_t number = 0;
  for (size_t start = 0; start < text.size();) {
    const size_t end = std::min(text.find('\n', start), text.size());
    std::string_view line = std::string_view(text).substr(start, end - start);
    start = end + 1;
    ++number;
    line = Trim(line.substr(0, line.find('#')));
    if (!line.empty()) MUSTER_RETURN_IF_ERROR(ParseLine(line, number, rows));
  }
  if (rows.size() == 0) return InvalidInput(absl::StrCat(path, ": holds no rows; give a LIBSVM file"));
  return rows;
}

// Class of every label value, in ascending order of the values.
absl::StatusOr<std::map<double, int64_t>> FindClasses(const std::vector<const SparseRows*>& files) {
  std::map<double, int64_t> classes;
  for (const SparseRows* rows : files) {
    for (int64_t r = 0; r < rows->size(); ++r) {
      if (rows->targets[r] != std::floor(rows->targets[r])) {
        return InvalidInput(absl::StrCat(rows->path, ": line ", rows->lines[r], ": label ", rows->targets[r],
                                         " is not an integer; mend it or set task: regression"));
      }
      classes.emplace(rows->targets[r], 0);
    }
  }
  if (static_cast<int64_t>(classes.size()) > kMaxClasses) {
    return InvalidInput(absl::StrCat(files[0]->path, ": has ", classes.size(),
                                     " different labels, more than ", kMaxClasses, "; set task: regression"));
  }
  int64_t next = 0;
  for (auto& [value, number] : classes) number = next++;
  return classes;
}

struct LibsvmOptions {
  std::string train;
  std::string test;
  double test_fraction = 0.2;
  int64_t split_seed = 0;
  int64_t features = 0;
  std::string task = "classification";
};

class Libsvm final : public DatasetLoader {
 public:
  Libsvm(const LibsvmOptions& options, const Context& context) : options_(options), folder_(context.folder) {}

  absl::StatusOr<TrainTest> Load() const override {
    MUSTER_ASSIGN_OR_RETURN(const SparseRows train, ReadRows(PathIn(folder_, options_.train)));
    if (options_.test.empty()) {
      MUSTER_ASSIGN_OR_RETURN(const Dataset all, Single(train));
      MUSTER_ASSIGN_OR_RETURN(const HeldOut parts,
                              HoldOut(all.size(), options_.test_fraction, options_.split_seed, train.path));
      return TrainTest{TakeSamples(all, parts.train), TakeSamples(all, parts.test)};
    }
    MUSTER_ASSIGN_OR_RETURN(const SparseRows test, ReadRows(PathIn(folder_, options_.test)));
    MUSTER_ASSIGN_OR_RETURN(std::vector<Dataset> parts, Densify({&train, &test}));
    return TrainTest{std::move(parts[0]), std::move(parts[1])};
  }

 private:
  absl::StatusOr<Dataset> Single(const SparseRows& rows) const {
    MUSTER_ASSIGN_OR_RETURN(std::vector<Dataset> parts, Densify({&rows}));
    return std::move(parts[0]);
  }

  // All files with the same columns and classes.
  absl::StatusOr<std::vector<Dataset>> Densify(const std::vector<const SparseRows*>& files) const {
    int64_t columns = std::max<int64_t>(options_.features, 1);
    for (const SparseRows* rows : files) {
      if (options_.features > 0 && rows->columns > options_.features) {
        return InvalidInput(absl::StrCat(rows->path, ": has index ", rows->columns, ", beyond features: ",
                                         options_.features, "; set features to at least ", rows->columns));
      }
      columns = std::max(columns, rows->columns);
    }
    std::map<double, int64_t> classes;
    if (options_.task == "classification") {
      MUSTER_ASSIGN_OR_RETURN(classes, FindClasses(files));
    }
    std::vector<Dataset> parts;
    for (const SparseRows* rows : files) {
      MUSTER_RETURN_IF_ERROR(CheckDenseSize(rows->size(), columns, rows->path));
      Dataset& part = parts.emplace_back();
      part.sample_shape = {columns};
      part.num_classes = static_cast<int64_t>(classes.size());
      for (const auto& [value, number] : classes) part.class_names.push_back(absl::StrCat(value));
      part.inputs.resize(rows->size() * columns);
      for (int64_t r = 0; r < rows->size(); ++r) {
        for (size_t c = rows->starts[r]; c < rows->starts[r + 1]; ++c) {
          part.inputs[r * columns + rows->cells[c].first] = rows->cells[c].second;
        }
        if (classes.empty()) {
          part.values.push_back(static_cast<float>(rows->targets[r]));
        } else {
          part.labels.push_back(classes.at(rows->targets[r]));
        }
      }
      MUSTER_RETURN_IF_ERROR(CheckDataset(part, rows->path));
    }
    return parts;
  }

  const LibsvmOptions options_;
  const std::string folder_;
};

MUSTER_REGISTER(DatasetLoader,
                Plugin<LibsvmOptions>("libsvm", "Sparse rows 'label index:value ...', plain or gzip",
                                      "Chang and Lin 2011")
                    .Required("train", &LibsvmOptions::train, "training file", FilePath())
                    .Option("test", &LibsvmOptions::test,
                            "test file; without one a part of the training file is held out", FilePath())
                    .Option("test_fraction", &LibsvmOptions::test_fraction,
                            "share held out for testing if there is no test file",
                            Allowed{.min = 0, .max = 1, .above_min = true, .below_max = true})
                    .Option("split_seed", &LibsvmOptions::split_seed, "which rows are held out", AtLeast(0))
                    .Option("features", &LibsvmOptions::features, "number of columns; 0: the largest index",
                            AtLeast(0))
                    .Option("task", &LibsvmOptions::task,
                            "what the labels are (classes in ascending order of the labels)",
                            OneOf({"classification", "regression"}))
                    .Make<Libsvm>());

}  // namespace
}  // namespace muster
