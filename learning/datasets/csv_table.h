// Comma-separated values (RFC 4180, with any delimiter): cells as text, with the line each row came from.
#ifndef MUSTER_LEARNING_DATASETS_CSV_TABLE_H_
#define MUSTER_LEARNING_DATASETS_CSV_TABLE_H_

#include <cstdint>
#include <deque>
#include <string>
#include <string_view>
#include <vector>

#include "core/status.h"

namespace muster {

struct CsvFormat {
  char delimiter = ',';
  bool header = true;
  int64_t skip_lines = 0;  // before the header
};

// Not copyable: cells are views into the text.
class CsvTable {
 public:
  CsvTable(CsvTable&&) = default;
  CsvTable& operator=(CsvTable&&) = default;

  // Cells are trimmed unless quoted; a quoted cell may hold delimiters, line ends and "" for a quote. Empty
  // lines are passed over. INVALID_ARGUMENT naming the line for rows of unequal length and quotes that never
  // close.
  static absl::StatusOr<CsvTable> Read(const std::string& path, const CsvFormat& format);

  const std::string& path() const { return path_; }
  int64_t rows() const { return static_cast<int64_t>(lines_.size()); }
  int64_t columns() const { return columns_; }
  std::string_view cell(int64_t row, int64_t column) const { return cells_[row * columns_ + column]; }
  int64_t line(int64_t row) const { return lines_[row]; }  // of the file, from 1
  const std::vector<std::string>& names() const {
    return names_;
  }  // of the columns; "0", "1", ... without a header
  bool has_header() const { return has_header_; }
  // "PATH: line 7"
  std::string Where(int64_t row) const;

 private:
  CsvTable() = default;
  absl::Status Parse(const CsvFormat& format);
  absl::Status TakeHeader(const CsvFormat& format);

  std::string path_;
  // Containers whose elements stay where they are when the table is moved.
  std::vector<char> text_;
  std::deque<std::string> unquoted_;
  std::vector<std::string_view> cells_;
  std::vector<int64_t> lines_;
  std::vector<std::string> names_;
  int64_t columns_ = 0;
  bool has_header_ = false;
};

}  // namespace muster

#endif  // MUSTER_LEARNING_DATASETS_CSV_TABLE_H_
